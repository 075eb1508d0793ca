// Vectors of AVX-512 F, BW, VL, DQ: 16 lanes, 32 registers. Included by every instruction set that has them.
#ifndef LAMINA_VECTORS_AVX512_H
#define LAMINA_VECTORS_AVX512_H

#include "internal.h"

#include <immintrin.h>

typedef __m512 vector;
typedef __m512i vector_words;

enum {
    VECTOR_LANES = 16,
    SINGLE_COLUMN_ROWS = 64,
    TILE_ROWS = 64,
    ATTENTION_CHAINS = 16,
};

LAMINA_INLINE vector vector_set(float value) {
    return _mm512_set1_ps(value);
}

LAMINA_INLINE vector vector_load(const float *source) {
    return _mm512_loadu_ps(source);
}

LAMINA_INLINE void vector_store(float *target, vector value) {
    _mm512_storeu_ps(target, value);
}

LAMINA_INLINE vector vector_add(vector a, vector b) {
    return _mm512_add_ps(a, b);
}

LAMINA_INLINE vector vector_fma(vector a, vector b, vector sum) {
    return _mm512_fmadd_ps(a, b, sum);
}

LAMINA_INLINE vector vector_mul(vector a, vector b) {
    return _mm512_mul_ps(a, b);
}

LAMINA_INLINE vector vector_bf16_even(vector_words pairs) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

LAMINA_INLINE vector vector_bf16_odd(vector_words pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

LAMINA_INLINE vector vector_load_bf16_even(const uint16_t *pairs) {
    return vector_bf16_even(_mm512_loadu_si512(pairs));
}

LAMINA_INLINE vector vector_load_bf16_odd(const uint16_t *pairs) {
    return vector_bf16_odd(_mm512_loadu_si512(pairs));
}

LAMINA_INLINE vector vector_load_f16(const uint16_t *source) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)source));
}

LAMINA_INLINE vector vector_set_f16(const uint16_t *source) {
    return _mm512_cvtph_ps(_mm256_set1_epi16((int16_t)*source));
}

LAMINA_INLINE vector vector_load_bf16(const uint16_t *source) {
    const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)source));
    return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

LAMINA_INLINE vector vector_load_i8(const int8_t *source) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)source)));
}

// Pairs of rows, pairs of pairs inside each quarter, then the quarters (0x88: even ones, 0xdd: odd ones) twice.
static void transpose_block(const uint8_t *source, size_t source_stride, uint8_t *target, size_t target_stride) {
    __m512i a[16];
    __m512i b[16];
    LAMINA_UNROLL
    for (size_t i = 0; i < 16; ++i) {
        a[i] = _mm512_loadu_si512(source + i * source_stride);
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 4; ++i) {
        b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
        b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
        b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
        b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 8; ++i) {
        _mm512_storeu_si512(target + i * target_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
        _mm512_storeu_si512(target + (i + 8) * target_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
    }
}

#endif
