// AVX2 with FMA and F16C: 8 lanes, 16 registers.
#include "strict_floats.h"

#include "internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,popcnt")
#endif

typedef __m256 vector;

enum {
    VECTOR_LANES = 8,
    SINGLE_COLUMN_ROWS = 64,
    TILE_ROWS = 16,
    ATTENTION_CHAINS = 8,
};

LAMINA_INLINE vector vector_set(float value) {
    return _mm256_set1_ps(value);
}

LAMINA_INLINE vector vector_load(const float *source) {
    return _mm256_loadu_ps(source);
}

LAMINA_INLINE void vector_store(float *target, vector value) {
    _mm256_storeu_ps(target, value);
}

LAMINA_INLINE vector vector_add(vector a, vector b) {
    return _mm256_add_ps(a, b);
}

LAMINA_INLINE vector vector_fma(vector a, vector b, vector sum) {
    return _mm256_fmadd_ps(a, b, sum);
}

LAMINA_INLINE vector vector_mul(vector a, vector b) {
    return _mm256_mul_ps(a, b);
}

LAMINA_INLINE vector vector_load_bf16_even(const uint16_t *pairs) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(const void *)pairs), 16));
}

LAMINA_INLINE vector vector_load_bf16_odd(const uint16_t *pairs) {
    const __m256i high_half = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)pairs), high_half));
}

LAMINA_INLINE vector vector_load_f16(const uint16_t *source) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)source));
}

LAMINA_INLINE vector vector_set_f16(const uint16_t *source) {
    return _mm256_cvtph_ps(_mm_set1_epi16((int16_t)*source));
}

LAMINA_INLINE vector vector_load_bf16(const uint16_t *source) {
    const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)source));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

LAMINA_INLINE vector vector_load_i8(const int8_t *source) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)source)));
}

// 8 x 8 words: pairs of rows, then pairs of pairs inside each half, then the halves.
LAMINA_INLINE void transpose_quarter(const uint8_t *source, size_t source_stride, uint8_t *target,
                                     size_t target_stride) {
    __m256i rows[8];
    __m256i pairs[8];
    __m256i fours[8];
    LAMINA_UNROLL
    for (size_t i = 0; i < 8; ++i) {
        rows[i] = _mm256_loadu_si256((const __m256i *)(const void *)(source + i * source_stride));
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 8; i += 4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    LAMINA_UNROLL
    for (size_t i = 0; i < 4; ++i) {
        const __m256i low = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        const __m256i high = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
        _mm256_storeu_si256((__m256i *)(void *)(target + i * target_stride), low);
        _mm256_storeu_si256((__m256i *)(void *)(target + (i + 4) * target_stride), high);
    }
}

static void transpose_block(const uint8_t *source, size_t source_stride, uint8_t *target, size_t target_stride) {
    for (size_t row = 0; row < 16; row += 8) {
        for (size_t word = 0; word < 16; word += 8) {
            transpose_quarter(source + row * source_stride + word * 4, source_stride,
                              target + word * target_stride + row * 4, target_stride);
        }
    }
}

#include "quantized_avx2.h"
#include "tier_avx2.h"

#define KERNEL_TABLE lamina_kernels_avx2
#define KERNEL_ISA LAMINA_ISA_AVX2
#include "kernel_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
