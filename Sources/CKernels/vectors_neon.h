// Vectors of NEON: 4 lanes, 32 registers. Included by both of its instruction sets' files.
#ifndef LAMINA_VECTORS_NEON_H
#define LAMINA_VECTORS_NEON_H

#include "internal.h"

#include <arm_neon.h>

typedef float32x4_t vector;

enum {
    VECTOR_LANES = 4,
    SINGLE_COLUMN_ROWS = 64,
    TILE_ROWS = 16,
    ATTENTION_CHAINS = 16,
};

LAMINA_INLINE vector vector_set(float value) {
    return vdupq_n_f32(value);
}

LAMINA_INLINE vector vector_load(const float *source) {
    return vld1q_f32(source);
}

LAMINA_INLINE void vector_store(float *target, vector value) {
    vst1q_f32(target, value);
}

LAMINA_INLINE vector vector_add(vector a, vector b) {
    return vaddq_f32(a, b);
}

LAMINA_INLINE vector vector_fma(vector a, vector b, vector sum) {
    return vfmaq_f32(sum, a, b);
}

LAMINA_INLINE vector vector_mul(vector a, vector b) {
    return vmulq_f32(a, b);
}

LAMINA_INLINE vector vector_load_bf16_even(const uint16_t *pairs) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(vld1q_u16(pairs)), 16));
}

LAMINA_INLINE vector vector_load_bf16_odd(const uint16_t *pairs) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(vld1q_u16(pairs)), vdupq_n_u32(0xffff0000)));
}

LAMINA_INLINE vector vector_load_f16(const uint16_t *source) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(source)));
}

LAMINA_INLINE vector vector_set_f16(const uint16_t *source) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(source)));
}

LAMINA_INLINE vector vector_load_bf16(const uint16_t *source) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(source), 16));
}

LAMINA_INLINE vector vector_load_i8(const int8_t *source) {
    int32_t bytes;
    memcpy(&bytes, source, sizeof bytes);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(bytes)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

// 4 x 4 words.
LAMINA_INLINE void transpose_part(const uint8_t *source, size_t source_stride, uint8_t *target,
                                  size_t target_stride) {
    uint32x4_t rows[4];
    LAMINA_UNROLL
    for (size_t i = 0; i < 4; ++i) {
        rows[i] = vreinterpretq_u32_u8(vld1q_u8(source + i * source_stride));
    }
    const uint32x4x2_t upper = vtrnq_u32(rows[0], rows[1]);
    const uint32x4x2_t lower = vtrnq_u32(rows[2], rows[3]);
    LAMINA_UNROLL
    for (size_t i = 0; i < 2; ++i) {
        const uint32x4_t left = vcombine_u32(vget_low_u32(upper.val[i]), vget_low_u32(lower.val[i]));
        const uint32x4_t right = vcombine_u32(vget_high_u32(upper.val[i]), vget_high_u32(lower.val[i]));
        vst1q_u8(target + i * target_stride, vreinterpretq_u8_u32(left));
        vst1q_u8(target + (i + 2) * target_stride, vreinterpretq_u8_u32(right));
    }
}

static void transpose_block(const uint8_t *source, size_t source_stride, uint8_t *target, size_t target_stride) {
    for (size_t row = 0; row < 16; row += 4) {
        for (size_t word = 0; word < 16; word += 4) {
            transpose_part(source + row * source_stride + word * 4, source_stride,
                           target + word * target_stride + row * 4, target_stride);
        }
    }
}

#endif
