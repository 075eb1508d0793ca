// The primitives of quantized_dequantize.h for NEON, and those of quantized_product.h but for product_add.
#ifndef LAMINA_QUANTIZED_NEON_H
#define LAMINA_QUANTIZED_NEON_H

#include "vectors_neon.h"

#define PRODUCT_COLUMNS 3

enum {
    PRODUCT_VECTORS = 4,
    PRODUCT_SINGLE_VECTORS = 4,
};

typedef int8x16_t product_codes;
typedef int32x4_t product_integers;
typedef int8x16_t product_codebook;

LAMINA_INLINE product_codebook product_codebook_load(void) {
    return vld1q_s8(lamina_q4_codebook);
}

LAMINA_INLINE product_codes product_load_bytes(const uint8_t *bytes) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes), vdupq_n_u8(128)));
}

LAMINA_INLINE void product_load_nibbles(product_codebook codebook, const uint8_t *bytes, product_codes codes[2]) {
    const uint8x16_t both = vld1q_u8(bytes);
    codes[0] = vqtbl1q_s8(codebook, vandq_u8(both, vdupq_n_u8(15)));
    codes[1] = vqtbl1q_s8(codebook, vshrq_n_u8(both, 4));
}

LAMINA_INLINE product_integers product_start(int32_t correction) {
    (void)correction;
    return vdupq_n_s32(0);
}

// The same 4 activation codes for every row.
LAMINA_INLINE int8x16_t load_activations(const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

LAMINA_INLINE vector product_floats(product_integers sums) {
    return vcvtq_f32_s32(sums);
}

typedef uint32x4_t code_words;

// The bytes of 16 floats.
typedef struct value_table {
    uint8x16x4_t bytes;
} value_table;

LAMINA_INLINE code_words code_words_load(const uint8_t *bytes) {
    return vreinterpretq_u32_u8(vld1q_u8(bytes));
}

LAMINA_INLINE vector code_words_byte(code_words words, size_t shift) {
    const int32x4_t top = (int32x4_t)(words << (uint32_t)(24 - shift) ^ 0x80000000u);
    return vcvtq_f32_s32(top >> 24);
}

LAMINA_INLINE value_table value_table_load(const float values[16]) {
    value_table table;
    for (size_t i = 0; i < 4; ++i) {
        table.bytes.val[i] = vreinterpretq_u8_f32(vld1q_f32(values + 4 * i));
    }
    return table;
}

LAMINA_INLINE vector code_words_nibble_value(const value_table *table, code_words words, size_t shift) {
    // Byte b of value i is byte 4 i + b of the table.
    const uint32x4_t first = (words >> (uint32_t)shift & 15u) * 0x04040404u;
    const uint8x16_t bytes = vreinterpretq_u8_u32(first + 0x03020100u);
    return vreinterpretq_f32_u8(vqtbl4q_u8(table->bytes, bytes));
}

// lamina_dynamic_map itself.
typedef const float *dynamic_table;

LAMINA_INLINE dynamic_table dynamic_table_load(void) {
    return lamina_dynamic_map;
}

LAMINA_INLINE void dynamic_values(const dynamic_table *table, const uint8_t *bytes, vector values[4]) {
    for (size_t k = 0; k < 4; ++k) {
        float lanes[VECTOR_LANES];
        for (size_t i = 0; i < VECTOR_LANES; ++i) {
            lanes[i] = (*table)[bytes[4 * i + k]];
        }
        values[k] = vld1q_f32(lanes);
    }
}

#endif
