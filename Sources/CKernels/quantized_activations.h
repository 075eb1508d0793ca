// One column of activations as int8 codes with a scale for every 32.
#ifndef LAMINA_QUANTIZED_ACTIVATIONS_H
#define LAMINA_QUANTIZED_ACTIVATIONS_H

#include "lanes.h"
#include "quantized_layout.h"

enum { BLOCK_PARTS = QUANTIZED_BLOCK / LAMINA_LANES };

// The bits of the largest magnitude: those of floats without a sign order as integers, infinity and NaN on top.
LAMINA_INLINE uint32_t largest_activation(const lamina_lanes parts[BLOCK_PARTS]) {
    uint32_t largest[LAMINA_LANES] = {0};
    for (size_t part = 0; part < BLOCK_PARTS; ++part) {
        LAMINA_EACH_LANE {
            const uint32_t magnitude = lamina_float_bits(parts[part].lane[i]) & 0x7fffffff;
            largest[i] = magnitude > largest[i] ? magnitude : largest[i];
        }
    }
    for (size_t half = LAMINA_LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i) {
            largest[i] = largest[i + half] > largest[i] ? largest[i + half] : largest[i];
        }
    }
    return largest[0];
}

// Writes the codes and returns their sum.
LAMINA_INLINE int32_t block_codes(const lamina_lanes parts[BLOCK_PARTS], float inverse, int8_t *codes) {
    const float integer_shift = 0x1.8p23f;
    int32_t sums[LAMINA_LANES] = {0};
    for (size_t part = 0; part < BLOCK_PARTS; ++part) {
        int8_t bytes[LAMINA_LANES];
        LAMINA_EACH_LANE {
            float scaled = parts[part].lane[i] * inverse;
            scaled = scaled > 127.0f ? 127.0f : scaled;
            scaled = scaled < -127.0f ? -127.0f : scaled;
            // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
            const uint32_t bits = lamina_float_bits(scaled + integer_shift) - lamina_float_bits(integer_shift);
            bytes[i] = (int8_t)(uint8_t)(bits & 255);
            sums[i] += (int32_t)bits;
        }
        memcpy(codes + part * LAMINA_LANES, bytes, sizeof bytes);
    }
    int32_t sum = 0;
    LAMINA_EACH_LANE sum += sums[i];
    return sum;
}

LAMINA_INLINE void quantize_block(const float *x, size_t count, int8_t *codes, float *scale, int32_t *correction) {
    lamina_lanes parts[BLOCK_PARTS];
    for (size_t part = 0; part < BLOCK_PARTS; ++part) {
        const size_t first = part * LAMINA_LANES;
        parts[part] = lamina_lanes_load(x + LAMINA_MIN(first, count), count > first ? count - first : 0);
    }
    const uint32_t bits = largest_activation(parts);
    const float largest = lamina_float_from_bits(bits);
    const float inverse = 127.0f / largest;
    const bool is_finite = bits < 0x7f800000;
    if (!is_finite || lamina_float_bits(inverse) == 0x7f800000) {
        memset(codes, 0, QUANTIZED_BLOCK);
        *scale = is_finite ? 0 : lamina_float_from_bits(0x7fc00000);
        *correction = 0;
        return;
    }
    *scale = largest / 127.0f;
    *correction = -128 * block_codes(parts, inverse, codes);
}

static void quantize_activations(const float *x, size_t count, size_t padded, int8_t *codes, float *scales,
                                 int32_t *corrections) {
    for (size_t block = 0; block < padded / QUANTIZED_BLOCK; ++block) {
        const size_t k = LAMINA_MIN(count, block * QUANTIZED_BLOCK);
        int8_t *target = codes + block * QUANTIZED_BLOCK;
        // The count of a whole block is a constant, so that it goes from memory straight to registers.
        if (count - k >= QUANTIZED_BLOCK) {
            quantize_block(x + k, QUANTIZED_BLOCK, target, scales + block, corrections + block);
        } else {
            quantize_block(x + k, count - k, target, scales + block, corrections + block);
        }
    }
}

#endif
