// One position's keys and values into a block of the cache.
#ifndef LAMINA_KV_STORE_H
#define LAMINA_KV_STORE_H

#include "kv_blocks.h"
#include "narrowing.h"

// Where a position's elements and scales go: the first, and how far apart.
typedef struct kv_target {
    uint8_t *elements;
    size_t stride;
    uint16_t *scales;
    size_t scale_stride;
} kv_target;

// The codes of one group of Q8; returns its scale.
static uint16_t quantize_group(const float *source, size_t count, int8_t codes[LAMINA_KV_GROUP]) {
    float values[LAMINA_KV_GROUP] = {0};
    memcpy(values, source, count * sizeof *source);
    float largest = 0;
    bool has_nan = false;
    for (size_t i = 0; i < LAMINA_KV_GROUP; ++i) {
        const float magnitude = fabsf(values[i]);
        largest = magnitude > largest ? magnitude : largest;
        has_nan |= magnitude != magnitude;
    }
    const uint16_t half = has_nan ? 0x7e00 : lamina_f16_from_float(largest / 127.0f);
    const bool is_zero = has_nan || half == 0;
    const float scale = is_zero ? 1.0f : lamina_float_from_f16(half);
    for (size_t i = 0; i < LAMINA_KV_GROUP; ++i) {
        float quotient = is_zero ? 0.0f : values[i] / scale;
        quotient = quotient > 127.0f ? 127.0f : quotient;
        quotient = quotient < -127.0f ? -127.0f : quotient;
        // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
        codes[i] = (int8_t)(uint8_t)(lamina_float_bits(quotient + 0x1.8p23f) & 255);
    }
    return half;
}

static void store_q8(kv_target target, size_t dimension, const float *source) {
    for (size_t group = 0; group < kv_groups(dimension); ++group) {
        const size_t first = group * LAMINA_KV_GROUP;
        const size_t count = LAMINA_MIN(dimension - first, (size_t)LAMINA_KV_GROUP);
        int8_t codes[LAMINA_KV_GROUP];
        target.scales[group * target.scale_stride] = quantize_group(source + first, count, codes);
        for (size_t i = 0; i < count; ++i) {
            target.elements[(first + i) * target.stride] = (uint8_t)codes[i];
        }
    }
}

LAMINA_INLINE void store_each(lamina_kv_type type, kv_target target, size_t dimension, const float *source) {
    for (size_t d = 0; d < dimension; ++d) {
        uint8_t *element = target.elements + d * target.stride * kv_element_bytes(type);
        if (type == LAMINA_KV_F32) {
            memcpy(element, source + d, sizeof *source);
        } else {
            const bool is_f16 = type == LAMINA_KV_F16;
            const uint16_t half = is_f16 ? lamina_f16_from_float(source[d]) : lamina_bf16_from_float(source[d]);
            memcpy(element, &half, sizeof half);
        }
    }
}

static void store_elements(lamina_kv_type type, kv_target target, size_t dimension, const float *source) {
    switch (type) {
    case LAMINA_KV_F32: return store_each(LAMINA_KV_F32, target, dimension, source);
    case LAMINA_KV_F16: return store_each(LAMINA_KV_F16, target, dimension, source);
    case LAMINA_KV_BF16: return store_each(LAMINA_KV_BF16, target, dimension, source);
    case LAMINA_KV_Q8: return store_q8(target, dimension, source);
    }
}

static void store_key(lamina_kv_type type, void *block, size_t head_dim, size_t lane, const float *source) {
    uint8_t *bytes = block;
    const kv_target target = {
        .elements = bytes + lane * kv_element_bytes(type),
        .stride = LAMINA_KV_BLOCK,
        .scales = (uint16_t *)(void *)(bytes + head_dim * LAMINA_KV_BLOCK) + lane,
        .scale_stride = LAMINA_KV_BLOCK,
    };
    store_elements(type, target, head_dim, source);
}

static void store_value(lamina_kv_type type, void *block, size_t value_dim, size_t lane, const float *source) {
    uint8_t *bytes = block;
    const kv_target target = {
        .elements = bytes + lane * value_dim * kv_element_bytes(type),
        .stride = 1,
        .scales = (uint16_t *)(void *)(bytes + value_dim * LAMINA_KV_BLOCK) + lane * kv_groups(value_dim),
        .scale_stride = 1,
    };
    store_elements(type, target, value_dim, source);
}

#endif
