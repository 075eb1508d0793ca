// f32 exp from multiplications and additions only: the same bits in every lane of every instruction set.
#ifndef LAMINA_EXPONENTIAL_H
#define LAMINA_EXPONENTIAL_H

#include "internal.h"

LAMINA_INLINE float lamina_power_of_two(int32_t exponent) {
    return lamina_float_from_bits((uint32_t)(exponent + 127) << 23);
}

LAMINA_INLINE float lamina_exp_f32(float x) {
    // exp(89) overflows and exp(-104) is below half the smallest denormal; NaN passes both comparisons.
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
    const float integer_shift = 0x1.8p23f;
    const float shifted = x * 0x1.715476p0f + integer_shift;
    const float n = shifted - integer_shift;
    // ln 2 in two parts; the first has 9 bits, so that n * part is exact.
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    // Taylor: |r| <= ln(2) / 2 leaves less than a tenth of an ulp after r^7.
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = (p * (r * r) + r) + 1.0f;
    // 2^n in two factors: n reaches 128 and -150, which one f32 cannot hold. Only the last product rounds.
    const int32_t exponent = (int32_t)(lamina_float_bits(shifted) - lamina_float_bits(integer_shift));
    const int32_t half = exponent >> 1;
    return p * lamina_power_of_two(half) * lamina_power_of_two(exponent - half);
}

#endif
