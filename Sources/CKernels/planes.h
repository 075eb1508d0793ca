// Byte planes for the codecs: the exponent bits in bytes of their own compress, the mantissa does not.
// Plain loops without branches; the compiler vectorizes them for each instruction set.
#ifndef LAMINA_PLANES_H
#define LAMINA_PLANES_H

#include "internal.h"

static void split_bf16(const uint16_t *restrict weights, uint8_t *restrict exponent,
                              uint8_t *restrict sign_mantissa, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const uint16_t word = weights[i];
        exponent[i] = (uint8_t)(word >> 7);
        sign_mantissa[i] = (uint8_t)(word << 1 | word >> 15);
    }
}

static void merge_bf16(const uint8_t *restrict exponent, const uint8_t *restrict sign_mantissa,
                              uint16_t *restrict weights, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const uint16_t rotated = (uint16_t)(exponent[i] << 8 | sign_mantissa[i]);
        weights[i] = (uint16_t)(rotated >> 1 | rotated << 15);
    }
}

static void split_f16(const uint16_t *restrict weights, uint8_t *restrict high, uint8_t *restrict low,
                             size_t count) {
    for (size_t i = 0; i < count; ++i) {
        high[i] = (uint8_t)(weights[i] >> 8);
        low[i] = (uint8_t)weights[i];
    }
}

static void merge_f16(const uint8_t *restrict high, const uint8_t *restrict low, uint16_t *restrict weights,
                             size_t count) {
    for (size_t i = 0; i < count; ++i) {
        weights[i] = (uint16_t)(high[i] << 8 | low[i]);
    }
}

static void split_f32(const uint32_t *restrict weights, uint8_t *const planes[4], size_t count) {
    uint8_t *restrict exponent = planes[0];
    uint8_t *restrict high = planes[1];
    uint8_t *restrict middle = planes[2];
    uint8_t *restrict low = planes[3];
    for (size_t i = 0; i < count; ++i) {
        const uint32_t rotated = weights[i] << 1 | weights[i] >> 31;
        exponent[i] = (uint8_t)(rotated >> 24);
        high[i] = (uint8_t)(rotated >> 16);
        middle[i] = (uint8_t)(rotated >> 8);
        low[i] = (uint8_t)rotated;
    }
}

static void merge_f32(const uint8_t *const planes[4], uint32_t *restrict weights, size_t count) {
    const uint8_t *restrict exponent = planes[0];
    const uint8_t *restrict high = planes[1];
    const uint8_t *restrict middle = planes[2];
    const uint8_t *restrict low = planes[3];
    for (size_t i = 0; i < count; ++i) {
        const uint32_t rotated =
            (uint32_t)exponent[i] << 24 | (uint32_t)high[i] << 16 | (uint32_t)middle[i] << 8 | low[i];
        weights[i] = rotated >> 1 | rotated << 31;
    }
}

#endif
