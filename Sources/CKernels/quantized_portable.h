// The primitives of quantized_product.h and quantized_dequantize.h for one row at a time.
#ifndef LAMINA_QUANTIZED_PORTABLE_H
#define LAMINA_QUANTIZED_PORTABLE_H

#include "internal.h"

#define PRODUCT_COLUMNS 3

enum {
    PRODUCT_VECTORS = 1,
    PRODUCT_SINGLE_VECTORS = 4,
};

typedef struct product_codes {
    int8_t code[4];
} product_codes;

typedef int32_t product_integers;
typedef const int8_t *product_codebook;

LAMINA_INLINE product_codebook product_codebook_load(void) {
    return lamina_q4_codebook;
}

LAMINA_INLINE product_codes product_load_bytes(const uint8_t *bytes) {
    product_codes codes;
    for (size_t i = 0; i < 4; ++i) {
        codes.code[i] = (int8_t)(bytes[i] - 128);
    }
    return codes;
}

LAMINA_INLINE void product_load_nibbles(product_codebook codebook, const uint8_t *bytes, product_codes codes[2]) {
    for (size_t i = 0; i < 4; ++i) {
        codes[0].code[i] = codebook[bytes[i] & 15];
        codes[1].code[i] = codebook[bytes[i] >> 4];
    }
}

LAMINA_INLINE product_integers product_start(int32_t correction) {
    (void)correction;
    return 0;
}

LAMINA_INLINE product_integers product_add(product_integers sums, product_codes codes, const int8_t *x) {
    for (size_t i = 0; i < 4; ++i) {
        sums += codes.code[i] * x[i];
    }
    return sums;
}

LAMINA_INLINE vector product_floats(product_integers sums) {
    return (float)sums;
}

typedef uint32_t code_words;

typedef struct value_table {
    const float *values;
} value_table;

LAMINA_INLINE code_words code_words_load(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

LAMINA_INLINE vector code_words_byte(code_words words, size_t shift) {
    return (float)((int32_t)(words >> shift & 255) - 128);
}

LAMINA_INLINE value_table value_table_load(const float values[16]) {
    return (value_table){values};
}

LAMINA_INLINE vector code_words_nibble_value(const value_table *table, code_words words, size_t shift) {
    return table->values[words >> shift & 15];
}

// lamina_dynamic_map itself.
typedef const float *dynamic_table;

LAMINA_INLINE dynamic_table dynamic_table_load(void) {
    return lamina_dynamic_map;
}

LAMINA_INLINE void dynamic_values(const dynamic_table *table, const uint8_t *bytes, vector values[4]) {
    for (size_t k = 0; k < 4; ++k) {
        values[k] = (*table)[bytes[k]];
    }
}

#endif
