// The primitives of quantized_product.h with VNNI and VBMI: an instruction multiplies unsigned weight codes (code + 128)
// with signed activation codes and adds four products to each sum, which begins at the correction for the 128.
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

#endif
