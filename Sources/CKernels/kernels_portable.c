// Any processor: one lane at a time, with the C library's fmaf for the chains.
#include "strict_floats.h"

#include "internal.h"

typedef float vector;

enum {
    VECTOR_LANES = 1,
    SINGLE_COLUMN_ROWS = 4,
    TILE_ROWS = 4,
    ATTENTION_CHAINS = 8,
};

LAMINA_INLINE vector vector_set(float value) {
    return value;
}

LAMINA_INLINE vector vector_load(const float *source) {
    return *source;
}

LAMINA_INLINE void vector_store(float *target, vector value) {
    *target = value;
}

LAMINA_INLINE vector vector_add(vector a, vector b) {
    return a + b;
}

LAMINA_INLINE vector vector_fma(vector a, vector b, vector sum) {
    return fmaf(a, b, sum);
}

LAMINA_INLINE vector vector_mul(vector a, vector b) {
    return a * b;
}

LAMINA_INLINE vector vector_load_bf16_even(const uint16_t *pairs) {
    return lamina_float_from_bf16(pairs[0]);
}

LAMINA_INLINE vector vector_load_bf16_odd(const uint16_t *pairs) {
    return lamina_float_from_bf16(pairs[1]);
}

LAMINA_INLINE vector vector_load_f16(const uint16_t *source) {
    return lamina_float_from_f16(*source);
}

LAMINA_INLINE vector vector_set_f16(const uint16_t *source) {
    return lamina_float_from_f16(*source);
}

LAMINA_INLINE vector vector_load_bf16(const uint16_t *source) {
    return lamina_float_from_bf16(*source);
}

LAMINA_INLINE vector vector_load_i8(const int8_t *source) {
    return (float)*source;
}

static void transpose_block(const uint8_t *source, size_t source_stride, uint8_t *target, size_t target_stride) {
    for (size_t row = 0; row < 16; ++row) {
        for (size_t word = 0; word < 16; ++word) {
            memcpy(target + word * target_stride + row * 4, source + row * source_stride + word * 4, 4);
        }
    }
}

#include "quantized_portable.h"
#include "tier_portable.h"

#define KERNEL_TABLE lamina_kernels_portable
#define KERNEL_ISA LAMINA_ISA_PORTABLE
#include "kernel_table.h"
