// Products with VNNI and VBMI (quantized_product.h): an instruction multiplies unsigned weight codes (code + 128)
// with signed activation codes and adds four products to each sum, which begins at the correction for the 128. And the
// dynamic map of quantized_dequantize.h, by permutations of bytes.
#ifndef LAMINA_QUANTIZED_AVX512_VNNI_H
#define LAMINA_QUANTIZED_AVX512_VNNI_H

#include "quantized_avx512.h"

#define PRODUCT_COLUMNS 12

enum {
    PRODUCT_VECTORS = 1,
    PRODUCT_SINGLE_VECTORS = 1,
};

typedef __m512i product_codes;
typedef __m512i product_integers;
typedef __m512i product_codebook;

// Four times the 16 values plus 128: a permutation by the low six bits of each byte then needs no mask.
LAMINA_INLINE product_codebook product_codebook_load(void) {
    const __m128i values = _mm_loadu_si128((const __m128i *)(const void *)lamina_q4_codebook);
    return _mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8(-128)));
}

LAMINA_INLINE product_codes product_load_bytes(const uint8_t *bytes) {
    return _mm512_loadu_si512(bytes);
}

LAMINA_INLINE void product_load_nibbles(product_codebook codebook, const uint8_t *bytes, product_codes codes[2]) {
    const __m512i both = _mm512_loadu_si512(bytes);
    codes[0] = _mm512_permutexvar_epi8(both, codebook);
    codes[1] = _mm512_permutexvar_epi8(_mm512_srli_epi16(both, 4), codebook);
}

LAMINA_INLINE product_integers product_start(int32_t correction) {
    return _mm512_set1_epi32(correction);
}

LAMINA_INLINE product_integers product_add(product_integers sums, product_codes codes, const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi32(four));
}

// Each of the four bytes of lamina_dynamic_map's 256 values.
typedef struct dynamic_table {
    __m512i bytes[4][4];
} dynamic_table;

LAMINA_INLINE dynamic_table dynamic_table_load(void) {
    uint8_t planes[4][256];
    for (size_t i = 0; i < 256; ++i) {
        const uint32_t bits = lamina_float_bits(lamina_dynamic_map[i]);
        planes[0][i] = (uint8_t)(bits & 255);
        planes[1][i] = (uint8_t)(bits >> 8 & 255);
        planes[2][i] = (uint8_t)(bits >> 16 & 255);
        planes[3][i] = (uint8_t)(bits >> 24);
    }
    dynamic_table table;
    memcpy(&table, planes, sizeof table);
    return table;
}

LAMINA_INLINE void dynamic_values(const dynamic_table *table, const uint8_t *bytes, vector values[4]) {
    // In each quarter, four rows by four k become four k by four rows.
    const __m512i turn = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i codes = _mm512_shuffle_epi8(_mm512_loadu_si512(bytes), turn);
    const __mmask64 upper = _mm512_movepi8_mask(codes);
    __m512i planes[4];
    LAMINA_UNROLL
    for (size_t i = 0; i < 4; ++i) {
        const __m512i low = _mm512_permutex2var_epi8(table->bytes[i][0], codes, table->bytes[i][1]);
        const __m512i high = _mm512_permutex2var_epi8(table->bytes[i][2], codes, table->bytes[i][3]);
        planes[i] = _mm512_mask_blend_epi8(upper, low, high);
    }
    LAMINA_UNROLL
    for (size_t half = 0; half < 2; ++half) {
        const __m512i low = half == 0 ? _mm512_unpacklo_epi8(planes[0], planes[1])
                                      : _mm512_unpackhi_epi8(planes[0], planes[1]);
        const __m512i high = half == 0 ? _mm512_unpacklo_epi8(planes[2], planes[3])
                                       : _mm512_unpackhi_epi8(planes[2], planes[3]);
        values[2 * half] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, high));
        values[2 * half + 1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, high));
    }
}

#endif
