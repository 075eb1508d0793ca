// Shared by the files of this target: the tables, and the words the kernel headers are written in.
#ifndef LAMINA_INTERNAL_H
#define LAMINA_INTERNAL_H

#include "lamina_kernels.h"
#include "strict_floats.h"

#include <math.h>
#include <string.h>

extern const lamina_kernels lamina_kernels_portable;
extern const lamina_kernels lamina_kernels_avx2;
extern const lamina_kernels lamina_kernels_avx512;
extern const lamina_kernels lamina_kernels_avx512_vbmi2;
extern const lamina_kernels lamina_kernels_neon;
extern const lamina_kernels lamina_kernels_neon_dotprod;

// Kernel headers are compiled once into each instruction set's file; the compiler must fold their constant arguments
// (weight type, tile size), which it only does for functions it inlines.
#define LAMINA_INLINE static inline __attribute__((always_inline))

// Tiles are arrays of vectors: they only live in registers if every loop over them is unrolled.
#if defined(__clang__)
#define LAMINA_UNROLL _Pragma("clang loop unroll(full)")
#define LAMINA_NO_VECTORS _Pragma("clang loop vectorize(disable) unroll(disable)")
#else
#define LAMINA_UNROLL _Pragma("GCC unroll 16")
#define LAMINA_NO_VECTORS _Pragma("GCC unroll 1")
#endif

#define LAMINA_MIN(a, b) ((a) < (b) ? (a) : (b))

LAMINA_INLINE uint32_t lamina_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

LAMINA_INLINE float lamina_float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

LAMINA_INLINE float lamina_float_from_bf16(uint16_t bits) {
    return lamina_float_from_bits((uint32_t)bits << 16);
}

// Exact, denormals included; a signalling NaN becomes quiet, as the conversion instructions do.
LAMINA_INLINE float lamina_float_from_f16(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = (half >> 10) & 31;
    const uint32_t mantissa = half & 1023;
    if (exponent == 0) {
        const float magnitude = (float)mantissa * 0x1p-24f;
        return lamina_float_from_bits(sign | lamina_float_bits(magnitude));
    }
    if (exponent == 31) {
        const uint32_t quiet = mantissa != 0 ? 1u << 22 : 0;
        return lamina_float_from_bits(sign | 0x7f800000u | quiet | mantissa << 13);
    }
    return lamina_float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

#endif
