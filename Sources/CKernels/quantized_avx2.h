// The primitives of quantized_product.h and quantized_dequantize.h for AVX2. Products: magnitudes of weight codes times
// activation codes of the weight's sign; pairs of them stay within 2 * 128 * 127 < 2^15.
#ifndef LAMINA_QUANTIZED_AVX2_H
#define LAMINA_QUANTIZED_AVX2_H

#include "internal.h"

#include <immintrin.h>

#define PRODUCT_COLUMNS 6

enum {
    PRODUCT_VECTORS = 1,
    PRODUCT_SINGLE_VECTORS = 2,
};

typedef struct product_codes {
    __m256i magnitude;
    __m256i code;
} product_codes;

typedef __m256i product_integers;
typedef __m256i product_codebook;

LAMINA_INLINE __m256i load_code_bytes(const uint8_t *bytes) {
    return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

LAMINA_INLINE product_codebook product_codebook_load(void) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)lamina_q4_codebook));
}

LAMINA_INLINE product_codes product_codes_of(__m256i codes) {
    return (product_codes){_mm256_abs_epi8(codes), codes};
}

LAMINA_INLINE product_codes product_load_bytes(const uint8_t *bytes) {
    return product_codes_of(_mm256_xor_si256(load_code_bytes(bytes), _mm256_set1_epi8(-128)));
}

LAMINA_INLINE void product_load_nibbles(product_codebook codebook, const uint8_t *bytes, product_codes codes[2]) {
    const __m256i both = load_code_bytes(bytes);
    const __m256i low = _mm256_set1_epi8(15);
    codes[0] = product_codes_of(_mm256_shuffle_epi8(codebook, _mm256_and_si256(both, low)));
    codes[1] = product_codes_of(_mm256_shuffle_epi8(codebook, _mm256_and_si256(_mm256_srli_epi16(both, 4), low)));
}

LAMINA_INLINE product_integers product_start(int32_t correction) {
    (void)correction;
    return _mm256_setzero_si256();
}

LAMINA_INLINE product_integers product_add(product_integers sums, product_codes codes, const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    const __m256i activations = _mm256_sign_epi8(_mm256_set1_epi32(four), codes.code);
    const __m256i pairs = _mm256_maddubs_epi16(codes.magnitude, activations);
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

LAMINA_INLINE vector product_floats(product_integers sums) {
    return _mm256_cvtepi32_ps(sums);
}

typedef __v8su code_words;

typedef struct value_table {
    __m256 low;
    __m256 high;
} value_table;

LAMINA_INLINE code_words code_words_load(const uint8_t *bytes) {
    return (code_words)load_code_bytes(bytes);
}

LAMINA_INLINE vector code_words_byte(code_words words, size_t shift) {
    const __v8si top = (__v8si)(words << (uint32_t)(24 - shift) ^ 0x80000000u);
    return _mm256_cvtepi32_ps((__m256i)(top >> 24));
}

LAMINA_INLINE value_table value_table_load(const float values[16]) {
    return (value_table){_mm256_loadu_ps(values), _mm256_loadu_ps(values + 8)};
}

LAMINA_INLINE vector code_words_nibble_value(const value_table *table, code_words words, size_t shift) {
    // The permutations read three bits; the fourth chooses between them, as a sign.
    const __m256i index = (__m256i)(words >> (uint32_t)shift);
    const __m256 low = _mm256_permutevar8x32_ps(table->low, index);
    const __m256 high = _mm256_permutevar8x32_ps(table->high, index);
    return _mm256_blendv_ps(low, high, (__m256)(words << (uint32_t)(28 - shift)));
}

// lamina_dynamic_map itself.
typedef const float *dynamic_table;

LAMINA_INLINE dynamic_table dynamic_table_load(void) {
    return lamina_dynamic_map;
}

LAMINA_INLINE void dynamic_values(const dynamic_table *table, const uint8_t *bytes, vector values[4]) {
    const code_words words = code_words_load(bytes);
    LAMINA_UNROLL
    for (size_t k = 0; k < 4; ++k) {
        const __m256i codes = (__m256i)(words >> (uint32_t)(8 * k) & 255u);
        values[k] = _mm256_i32gather_ps(*table, codes, sizeof **table);
    }
}

#endif
