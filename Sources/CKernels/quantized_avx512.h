// Codes of quantized weights as f32 with AVX-512: the primitives of quantized_dequantize.h.
#ifndef LAMINA_QUANTIZED_AVX512_H
#define LAMINA_QUANTIZED_AVX512_H

#include "vectors_avx512.h"

typedef __v16su code_words;

typedef struct value_table {
    __m512 values;
} value_table;

LAMINA_INLINE code_words code_words_load(const uint8_t *bytes) {
    return (code_words)_mm512_loadu_si512(bytes);
}

LAMINA_INLINE vector code_words_byte(code_words words, size_t shift) {
    const __v16si top = (__v16si)(words << (uint32_t)(24 - shift) ^ 0x80000000u);
    return _mm512_cvtepi32_ps((__m512i)(top >> 24));
}

LAMINA_INLINE value_table value_table_load(const float values[16]) {
    return (value_table){_mm512_loadu_ps(values)};
}

LAMINA_INLINE vector code_words_nibble_value(const value_table *table, code_words words, size_t shift) {
    // The permutation reads the low four bits only.
    return _mm512_permutexvar_ps((__m512i)(words >> (uint32_t)shift), table->values);
}

LAMINA_INLINE vector product_floats(__m512i sums) {
    return _mm512_cvtepi32_ps(sums);
}

#endif
