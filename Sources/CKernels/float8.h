// 8-bit floats. Both kinds are the upper bits of an f16, E4M3 with its exponent off by 8, so the conversion of f16 does
// the work, denormals included.
#ifndef LAMINA_FLOAT8_H
#define LAMINA_FLOAT8_H

#include "lanes.h"

LAMINA_INLINE uint16_t f16_from_e4m3(uint8_t code) {
    const uint16_t sign = (uint16_t)((code & 0x80) << 8);
    const uint16_t magnitude = (uint16_t)((code & 0x7f) << 7);
    const uint16_t quiet_nan = 0x7e00;
    return sign | ((code & 0x7f) == 0x7f ? quiet_nan : magnitude);
}

// 16 codes as exact f32.
LAMINA_INLINE lamina_lanes f8_lanes(lamina_weight_type type, const uint8_t *source) {
    uint16_t halves[LAMINA_LANES];
    LAMINA_EACH_LANE halves[i] = type == LAMINA_WEIGHT_E4M3 ? f16_from_e4m3(source[i]) : (uint16_t)(source[i] << 8);
    lamina_lanes values;
    for (size_t lane = 0; lane < LAMINA_LANES; lane += VECTOR_LANES) {
        vector_store(values.lane + lane, vector_load_f16(halves + lane));
    }
    if (type == LAMINA_WEIGHT_E4M3) {
        LAMINA_EACH_LANE values.lane[i] *= 256.0f;
    }
    return values;
}

LAMINA_INLINE void widen_f8_type(lamina_weight_type type, const uint8_t *source, float scale, float *target,
                                 size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        uint8_t codes[LAMINA_LANES] = {0};
        const size_t left = count - start;
        if (left >= LAMINA_LANES) {
            memcpy(codes, source + start, sizeof codes);
        } else {
            memcpy(codes, source + start, left);
        }
        lamina_lanes values = f8_lanes(type, codes);
        LAMINA_EACH_LANE values.lane[i] *= scale;
        lamina_lanes_store(&values, target + start, left);
    }
}

static void widen_f8(lamina_weight_type type, const uint8_t *source, float scale, float *target, size_t count) {
    if (type == LAMINA_WEIGHT_E4M3) {
        widen_f8_type(LAMINA_WEIGHT_E4M3, source, scale, target, count);
    } else {
        widen_f8_type(LAMINA_WEIGHT_E5M2, source, scale, target, count);
    }
}

#endif
