// The primitives of tier_decode.h and tier_encode.h: VBMI2 expands and compresses 64 bytes at once.
#ifndef LAMINA_TIER_AVX512_VBMI2_H
#define LAMINA_TIER_AVX512_VBMI2_H

#include "tier.h"

#include <immintrin.h>

#define TIER_FUSED_COLUMNS 4

typedef __m512i tier_bytes;
typedef __m512i tier_values;

typedef struct tier_palette {
    __m512i entries[TIER_ENTRIES];
} tier_palette;

LAMINA_INLINE tier_palette tier_palette_load(const uint8_t entries[TIER_ENTRIES]) {
    tier_palette palette;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_ENTRIES; ++i) {
        palette.entries[i] = _mm512_set1_epi8((char)entries[i]);
    }
    return palette;
}

LAMINA_INLINE tier_values tier_lookup(const tier_palette *palette, uint64_t low, uint64_t high, const uint8_t *next) {
    const __m512i first_two = _mm512_mask_mov_epi8(palette->entries[0], low, palette->entries[1]);
    const __m512i named = _mm512_mask_mov_epi8(first_two, high, palette->entries[2]);
    return _mm512_mask_expand_epi8(named, low & high, _mm512_loadu_si512(next));
}

LAMINA_INLINE void tier_store_values(uint8_t *target, tier_values values) {
    _mm512_storeu_si512(target, values);
}

// 0 to 63.
LAMINA_INLINE __m512i tier_byte_numbers(void) {
    static const uint8_t numbers[TIER_GROUP] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
    };
    return _mm512_loadu_si512(numbers);
}

// Which bytes make 32 of 64 words: of the low ones, and of the high ones, which count from 64.
LAMINA_INLINE __m512i tier_word_indices(size_t half) {
    const __m512i halved = _mm512_srli_epi16(tier_byte_numbers(), 1);
    const __m512i first = _mm512_set1_epi16((short)(0x4000 + 0x2020 * half));
    return _mm512_add_epi8(_mm512_and_si512(halved, _mm512_set1_epi8(31)), first);
}

LAMINA_INLINE void tier_pairs(tier_values exponents, const uint8_t *sign_mantissa, vector_words pairs[2]) {
    const __m512i low = _mm512_loadu_si512(sign_mantissa);
    LAMINA_UNROLL
    for (size_t half = 0; half < 2; ++half) {
        const __m512i rotated = _mm512_permutex2var_epi8(low, tier_word_indices(half), exponents);
        pairs[half] = _mm512_shrdi_epi16(rotated, rotated, 1);
    }
}

LAMINA_INLINE void tier_store_words(uint16_t *target, tier_values exponents, const uint8_t *sign_mantissa) {
    vector_words pairs[2];
    tier_pairs(exponents, sign_mantissa, pairs);
    _mm512_storeu_si512(target, pairs[0]);
    _mm512_storeu_si512(target + TIER_GROUP / 2, pairs[1]);
}

LAMINA_INLINE tier_bytes tier_load_bytes(const uint8_t *source) {
    return _mm512_loadu_si512(source);
}

// The low (0) or high (1) bytes of 64 words in two vectors.
LAMINA_INLINE __m512i tier_byte_indices(size_t high) {
    const __m512i numbers = tier_byte_numbers();
    return _mm512_add_epi8(_mm512_add_epi8(numbers, numbers), _mm512_set1_epi8((char)high));
}

LAMINA_INLINE tier_bytes tier_split(const uint16_t *words, uint8_t *sign_mantissa) {
    const __m512i first = _mm512_loadu_si512(words);
    const __m512i second = _mm512_loadu_si512(words + TIER_GROUP / 2);
    const __m512i rotated[2] = {_mm512_shldi_epi16(first, first, 1), _mm512_shldi_epi16(second, second, 1)};
    _mm512_storeu_si512(sign_mantissa, _mm512_permutex2var_epi8(rotated[0], tier_byte_indices(0), rotated[1]));
    return _mm512_permutex2var_epi8(rotated[0], tier_byte_indices(1), rotated[1]);
}

LAMINA_INLINE uint64_t tier_equal(tier_bytes bytes, uint8_t value) {
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8((char)value));
}

LAMINA_INLINE void tier_compress(tier_bytes bytes, uint64_t mask, uint8_t *target) {
    _mm512_storeu_si512(target, _mm512_maskz_compress_epi8(mask, bytes));
}

typedef struct tier_table {
    __m512i entries;  // in each 16 bytes
} tier_table;

LAMINA_INLINE tier_table tier_table_load(const uint8_t entries[16]) {
    return (tier_table){_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)entries))};
}

LAMINA_INLINE tier_bytes tier_look_up(tier_table table, tier_bytes indices) {
    return _mm512_shuffle_epi8(table.entries, indices);
}

LAMINA_INLINE tier_bytes tier_spread(uint64_t bits) {
    return _mm512_movm_epi8(bits);
}

LAMINA_INLINE tier_bytes tier_expand_next(uint64_t bits, const uint8_t *next) {
    return _mm512_maskz_expand_epi8(bits, _mm512_loadu_si512(next));
}

LAMINA_INLINE tier_bytes tier_add(tier_bytes a, tier_bytes b) {
    return _mm512_add_epi8(a, b);
}

LAMINA_INLINE tier_bytes tier_and(tier_bytes a, tier_bytes b) {
    return _mm512_and_si512(a, b);
}

LAMINA_INLINE tier_bytes tier_field(tier_bytes bytes, size_t shift, uint8_t mask) {
    typedef uint16_t words __attribute__((vector_size(64)));
    return _mm512_and_si512((__m512i)((words)bytes >> (uint16_t)shift), _mm512_set1_epi8((char)mask));
}

LAMINA_INLINE uint64_t tier_at_least(tier_bytes bytes, uint8_t value) {
    return _mm512_cmpge_epu8_mask(bytes, _mm512_set1_epi8((char)value));
}

LAMINA_INLINE uint64_t tier_test(tier_bytes bytes, uint8_t bit) {
    return _mm512_test_epi8_mask(bytes, _mm512_set1_epi8((char)bit));
}

LAMINA_INLINE tier_bytes tier_translate(const uint8_t table[256], const uint8_t *source) {
    const __m512i indices = _mm512_loadu_si512(source);
    const __m512i lower =
        _mm512_permutex2var_epi8(_mm512_loadu_si512(table), indices, _mm512_loadu_si512(table + 64));
    const __m512i upper =
        _mm512_permutex2var_epi8(_mm512_loadu_si512(table + 128), indices, _mm512_loadu_si512(table + 192));
    return _mm512_mask_mov_epi8(lower, _mm512_movepi8_mask(indices), upper);
}

#endif
