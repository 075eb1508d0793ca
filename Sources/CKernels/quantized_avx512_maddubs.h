// The primitives of quantized_product.h for AVX-512 without VNNI: magnitudes of weight codes times activation codes of
// the weight's sign. Pairs of products stay within 2 * 128 * 127 < 2^15. And the dynamic map of quantized_dequantize.h.
#ifndef LAMINA_QUANTIZED_AVX512_MADDUBS_H
#define LAMINA_QUANTIZED_AVX512_MADDUBS_H

#include "quantized_avx512.h"

#define PRODUCT_COLUMNS 6

enum {
    PRODUCT_VECTORS = 1,
    PRODUCT_SINGLE_VECTORS = 1,
};

typedef struct product_codes {
    __m512i magnitude;
    __mmask64 negative;
} product_codes;

typedef __m512i product_integers;
typedef __m512i product_codebook;

LAMINA_INLINE product_codebook product_codebook_load(void) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)lamina_q4_codebook));
}

LAMINA_INLINE product_codes product_codes_of(__m512i codes) {
    return (product_codes){_mm512_abs_epi8(codes), _mm512_movepi8_mask(codes)};
}

LAMINA_INLINE product_codes product_load_bytes(const uint8_t *bytes) {
    return product_codes_of(_mm512_xor_si512(_mm512_loadu_si512(bytes), _mm512_set1_epi8(-128)));
}

LAMINA_INLINE void product_load_nibbles(product_codebook codebook, const uint8_t *bytes, product_codes codes[2]) {
    const __m512i both = _mm512_loadu_si512(bytes);
    const __m512i low = _mm512_set1_epi8(15);
    codes[0] = product_codes_of(_mm512_shuffle_epi8(codebook, _mm512_and_si512(both, low)));
    codes[1] = product_codes_of(_mm512_shuffle_epi8(codebook, _mm512_and_si512(_mm512_srli_epi16(both, 4), low)));
}

LAMINA_INLINE product_integers product_start(int32_t correction) {
    (void)correction;
    return _mm512_setzero_si512();
}

LAMINA_INLINE product_integers product_add(product_integers sums, product_codes codes, const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    const __m512i all = _mm512_set1_epi32(four);
    const __m512i activations = _mm512_mask_sub_epi8(all, codes.negative, _mm512_setzero_si512(), all);
    const __m512i pairs = _mm512_maddubs_epi16(codes.magnitude, activations);
    return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
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
        const __m512i codes = (__m512i)(words >> (uint32_t)(8 * k) & 255u);
        values[k] = _mm512_i32gather_ps(codes, *table, sizeof **table);
    }
}

#endif
