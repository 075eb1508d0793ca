// The primitives of tier_decode.h and tier_encode.h from byte shuffles and tables: no pdep and pext, which are slow on
// processors that have little more than AVX2.
#ifndef LAMINA_TIER_AVX2_H
#define LAMINA_TIER_AVX2_H

#include "tier.h"

#include <immintrin.h>

typedef struct tier_bytes {
    __m256i half[2];
} tier_bytes;

typedef tier_bytes tier_values;

typedef struct tier_palette {
    __m256i entries;  // by symbol; 0 for symbol 3
} tier_palette;

LAMINA_INLINE __m256i tier_load_half(const void *source) {
    return _mm256_loadu_si256((const __m256i *)source);
}

LAMINA_INLINE tier_palette tier_palette_load(const uint8_t entries[TIER_ENTRIES]) {
    const int packed = entries[0] | entries[1] << 8 | entries[2] << 16;
    return (tier_palette){_mm256_set1_epi32(packed)};
}

// Byte i: 0xff if bit i of this half of the bits is set.
LAMINA_INLINE __m256i tier_spread_bits(__m256i bits, size_t half) {
    const __m256i source = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i bytes = _mm256_shuffle_epi8(bits, _mm256_add_epi8(source, _mm256_set1_epi8((char)(4 * half))));
    return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
}

LAMINA_INLINE __m128i tier_load_ranks(uint64_t mask) {
    const __m128i first = _mm_loadl_epi64((const __m128i *)(const void *)lamina_tier_ranks[mask & 255]);
    const __m128i second = _mm_loadl_epi64((const __m128i *)(const void *)lamina_tier_ranks[mask >> 8 & 255]);
    return _mm_unpacklo_epi64(first, second);
}

// Half a group's next values at the places of its set bits, 0 elsewhere. `counts` holds the number of bits in each byte
// of the whole group's mask: the second 8 places of each 16 count on from the first 8.
LAMINA_INLINE __m256i tier_expand_half(uint32_t mask, __m256i counts, size_t half, const uint8_t *next) {
    const __m256i source = _mm256_set_epi64x(0x0202020202020202, -1, 0, -1);
    const __m256i before = _mm256_shuffle_epi8(
        counts, _mm256_add_epi8(source, _mm256_set_epi64x((long long)(0x0404040404040404 * half), 0,
                                                          (long long)(0x0404040404040404 * half), 0)));
    const __m256i ranks = _mm256_set_m128i(tier_load_ranks(mask >> 16), tier_load_ranks(mask));
    const uint8_t *upper = next + __builtin_popcount(mask & 0xffff);
    const __m256i values = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)upper),
                                            _mm_loadu_si128((const __m128i *)(const void *)next));
    return _mm256_shuffle_epi8(values, _mm256_add_epi8(ranks, before));
}

LAMINA_INLINE tier_values tier_lookup(const tier_palette *palette, uint64_t low, uint64_t high, const uint8_t *next) {
    const uint64_t mask = low & high;
    const __m256i counts = _mm256_set1_epi64x((long long)tier_count_bits(mask));
    const __m256i low_bits = _mm256_set1_epi64x((long long)low);
    const __m256i high_bits = _mm256_set1_epi64x((long long)high);
    tier_values values;
    LAMINA_UNROLL
    for (size_t half = 0; half < 2; ++half) {
        const __m256i one = _mm256_and_si256(tier_spread_bits(low_bits, half), _mm256_set1_epi8(1));
        const __m256i two = _mm256_and_si256(tier_spread_bits(high_bits, half), _mm256_set1_epi8(2));
        const __m256i named = _mm256_shuffle_epi8(palette->entries, _mm256_or_si256(one, two));
        const uint8_t *first = half == 0 ? next : next + __builtin_popcountll(mask & UINT32_MAX);
        const __m256i expanded = tier_expand_half((uint32_t)(mask >> 32 * half), counts, half, first);
        values.half[half] = _mm256_or_si256(named, expanded);
    }
    return values;
}

LAMINA_INLINE void tier_store_values(uint8_t *target, tier_values values) {
    _mm256_storeu_si256((__m256i *)(void *)target, values.half[0]);
    _mm256_storeu_si256((__m256i *)(void *)(target + 32), values.half[1]);
}

LAMINA_INLINE void tier_store_words(uint16_t *target, tier_values exponents, const uint8_t *sign_mantissa) {
    LAMINA_UNROLL
    for (size_t half = 0; half < 2; ++half) {
        // Unpacking works inside each 16 bytes: with the middle quarters exchanged its results are in order.
        const __m256i low = _mm256_permute4x64_epi64(tier_load_half(sign_mantissa + 32 * half), 0xd8);
        const __m256i high = _mm256_permute4x64_epi64(exponents.half[half], 0xd8);
        const __m256i rotated[2] = {_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
        LAMINA_UNROLL
        for (size_t i = 0; i < 2; ++i) {
            const __m256i words = _mm256_or_si256(_mm256_srli_epi16(rotated[i], 1), _mm256_slli_epi16(rotated[i], 15));
            _mm256_storeu_si256((__m256i *)(void *)(target + 32 * half + 16 * i), words);
        }
    }
}

LAMINA_INLINE tier_bytes tier_load_bytes(const uint8_t *source) {
    return (tier_bytes){{tier_load_half(source), tier_load_half(source + 32)}};
}

LAMINA_INLINE tier_bytes tier_split(const uint16_t *words, uint8_t *sign_mantissa) {
    const __m256i low_byte = _mm256_set1_epi16(255);
    tier_bytes exponents;
    tier_bytes rest;
    LAMINA_UNROLL
    for (size_t half = 0; half < 2; ++half) {
        const __m256i a = tier_load_half(words + 32 * half);
        const __m256i b = tier_load_half(words + 32 * half + 16);
        const __m256i exponent = _mm256_packus_epi16(_mm256_and_si256(_mm256_srli_epi16(a, 7), low_byte),
                                                     _mm256_and_si256(_mm256_srli_epi16(b, 7), low_byte));
        // The sign is a word's high bit, the mantissa its low 7; the sum of a byte with itself moves these one up.
        const __m256i mantissa =
            _mm256_packus_epi16(_mm256_and_si256(a, low_byte), _mm256_and_si256(b, low_byte));
        const __m256i sign = _mm256_packus_epi16(_mm256_srli_epi16(a, 15), _mm256_srli_epi16(b, 15));
        exponents.half[half] = _mm256_permute4x64_epi64(exponent, 0xd8);
        rest.half[half] =
            _mm256_permute4x64_epi64(_mm256_or_si256(_mm256_add_epi8(mantissa, mantissa), sign), 0xd8);
    }
    tier_store_values(sign_mantissa, rest);
    return exponents;
}

LAMINA_INLINE uint64_t tier_equal(tier_bytes bytes, uint8_t value) {
    const __m256i wanted = _mm256_set1_epi8((char)value);
    const uint32_t lower = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes.half[0], wanted));
    const uint32_t upper = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes.half[1], wanted));
    return (uint64_t)upper << 32 | lower;
}

LAMINA_INLINE void tier_compress(tier_bytes bytes, uint64_t mask, uint8_t *target) {
    uint8_t source[TIER_GROUP];
    tier_store_values(source, bytes);
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_GROUP / 8; ++i) {
        const uint64_t part = mask >> 8 * i & 255;
        const __m128i positions = _mm_loadl_epi64((const __m128i *)(const void *)lamina_tier_positions[part]);
        const __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(source + 8 * i));
        _mm_storel_epi64((__m128i *)(void *)target, _mm_shuffle_epi8(eight, positions));
        target += __builtin_popcountll(part);
    }
}

typedef struct tier_table {
    __m256i entries;  // in each 16 bytes
} tier_table;

LAMINA_INLINE tier_table tier_table_load(const uint8_t entries[16]) {
    return (tier_table){_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)entries))};
}

LAMINA_INLINE tier_bytes tier_look_up(tier_table table, tier_bytes indices) {
    return (tier_bytes){{
        _mm256_shuffle_epi8(table.entries, indices.half[0]),
        _mm256_shuffle_epi8(table.entries, indices.half[1]),
    }};
}

LAMINA_INLINE tier_bytes tier_spread(uint64_t bits) {
    const __m256i all = _mm256_set1_epi64x((long long)bits);
    return (tier_bytes){{tier_spread_bits(all, 0), tier_spread_bits(all, 1)}};
}

LAMINA_INLINE tier_bytes tier_expand_next(uint64_t bits, const uint8_t *next) {
    const __m256i counts = _mm256_set1_epi64x((long long)tier_count_bits(bits));
    const uint8_t *upper = next + __builtin_popcountll(bits & UINT32_MAX);
    return (tier_bytes){{
        tier_expand_half((uint32_t)bits, counts, 0, next),
        tier_expand_half((uint32_t)(bits >> 32), counts, 1, upper),
    }};
}

LAMINA_INLINE tier_bytes tier_add(tier_bytes a, tier_bytes b) {
    return (tier_bytes){{_mm256_add_epi8(a.half[0], b.half[0]), _mm256_add_epi8(a.half[1], b.half[1])}};
}

LAMINA_INLINE tier_bytes tier_and(tier_bytes a, tier_bytes b) {
    return (tier_bytes){{_mm256_and_si256(a.half[0], b.half[0]), _mm256_and_si256(a.half[1], b.half[1])}};
}

LAMINA_INLINE tier_bytes tier_field(tier_bytes bytes, size_t shift, uint8_t mask) {
    typedef uint16_t words __attribute__((vector_size(32)));
    const __m256i wanted = _mm256_set1_epi8((char)mask);
    return (tier_bytes){{
        _mm256_and_si256((__m256i)((words)bytes.half[0] >> (uint16_t)shift), wanted),
        _mm256_and_si256((__m256i)((words)bytes.half[1] >> (uint16_t)shift), wanted),
    }};
}

LAMINA_INLINE uint64_t tier_gather_bits(__m256i lower, __m256i upper) {
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(upper) << 32 | (uint32_t)_mm256_movemask_epi8(lower);
}

LAMINA_INLINE uint64_t tier_at_least(tier_bytes bytes, uint8_t value) {
    const __m256i below = _mm256_set1_epi8((char)(value - 1));
    return tier_gather_bits(_mm256_cmpgt_epi8(bytes.half[0], below), _mm256_cmpgt_epi8(bytes.half[1], below));
}

LAMINA_INLINE uint64_t tier_test(tier_bytes bytes, uint8_t bit) {
    const __m256i wanted = _mm256_set1_epi8((char)bit);
    return tier_gather_bits(_mm256_cmpeq_epi8(_mm256_and_si256(bytes.half[0], wanted), wanted),
                            _mm256_cmpeq_epi8(_mm256_and_si256(bytes.half[1], wanted), wanted));
}

LAMINA_INLINE tier_bytes tier_translate(const uint8_t table[256], const uint8_t *source) {
    uint8_t target[TIER_GROUP];
    tier_translate_each(table, source, target);
    return tier_load_bytes(target);
}

#endif
