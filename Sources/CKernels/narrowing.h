// f32 to the 16-bit types, rounded to nearest with ties to even, in integer operations and one addition: what a
// compiler turns into vectors, with the same bits on every instruction set.
#ifndef LAMINA_NARROWING_H
#define LAMINA_NARROWING_H

#include "internal.h"

// Magnitudes above 65504 become 65504, infinity too; NaN becomes the quiet NaN of its sign without a payload.
LAMINA_INLINE uint16_t lamina_f16_from_float(float value) {
    const uint32_t bits = lamina_float_bits(value);
    const uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    const bool is_nan = magnitude > 0x7f800000;
    magnitude = magnitude > 0x477fe000 ? 0x477fe000 : magnitude;  // 65504
    // 13 bits go; the last one that stays decides ties. The exponent's bias falls from 127 to 15.
    const uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
    // Below 2^-14: an ulp of 0.5 is the denormals' 2^-24, so this sum rounds to their multiples.
    const uint32_t denormal = lamina_float_bits(lamina_float_from_bits(magnitude) + 0.5f) - 0x3f000000;
    const uint32_t rounded = magnitude < 0x38800000 ? denormal : normal;
    return (uint16_t)(sign | (is_nan ? 0x7e00 : rounded));
}

// What rounds beyond the range becomes infinite; NaN stays NaN.
LAMINA_INLINE uint16_t lamina_bf16_from_float(float value) {
    const uint32_t bits = lamina_float_bits(value);
    const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(is_nan ? bits >> 16 | 0x40 : rounded);
}

#endif
