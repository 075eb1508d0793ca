// exp-tier segments (formats/shard.md) and where their parts are. r = rotl16(word, 1) has the exponent in its high
// byte, sign and mantissa in its low one, which is stored as it is. An exponent is symbol 0, 1 or 2 of tier 1 if it is
// one of the segment's three most frequent, else symbol 3 and a symbol of tier 2: there in the same way one of the next
// three, or else of tier 3; there one of the next three, or else a byte among the escapes.
#ifndef LAMINA_TIER_H
#define LAMINA_TIER_H

#include "internal.h"

enum {
    TIER_GROUP = 64,  // symbols whose bits stand together: 64 low ones, then 64 high ones
    TIER_PLANE_BYTES = 8,  // one bit of each symbol of a group
    TIER_GROUP_BYTES = 2 * TIER_PLANE_BYTES,
    TIER_COUNT = 3,
    TIER_ENTRIES = 3,  // of the palette, for each tier
    TIER_PALETTE = TIER_COUNT * TIER_ENTRIES,
    TIER_PALETTE_OFFSET = 16,
    TIER_HEADER = 64,
    TIER_ALIGNMENT = 64,
};

typedef struct tier_layout {
    size_t counts[TIER_COUNT + 1];   // symbols of each tier, then escapes
    size_t offsets[TIER_COUNT + 1];  // of the same, from the segment's beginning
    size_t sign_mantissa;            // offset
    size_t size;
} tier_layout;

// `counts` as in tier_layout.
tier_layout lamina_tier_layout(const size_t counts[TIER_COUNT + 1]);

// Checks everything that decode_tier promises except that the tiers need each other's counts.
bool lamina_tier_open(const uint8_t *segment, size_t size, size_t count, tier_layout *layout);

// Chooses the palette for the frequencies of 256 exponents and writes all of the segment that does not depend on the
// order of the words: header and zeros behind the escapes.
tier_layout lamina_tier_begin(const uint32_t frequencies[256], uint8_t *segment);

// For a mask of 8 bits: each bit's rank among those set, 0x80 if it is not set.
extern const uint8_t lamina_tier_ranks[256][8];
// For a mask of 8 bits: the positions of those set, in order, then 8.
extern const uint8_t lamina_tier_positions[256][8];

LAMINA_INLINE uint64_t tier_load_bits(const uint8_t *bytes) {
    uint64_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return bits;
}

LAMINA_INLINE size_t tier_groups(size_t symbols) {
    return (symbols + TIER_GROUP - 1) / TIER_GROUP;
}

// The number of bits set in each byte, in that byte.
LAMINA_INLINE uint64_t tier_count_bits(uint64_t mask) {
    mask -= mask >> 1 & 0x5555555555555555;
    mask = (mask & 0x3333333333333333) + (mask >> 2 & 0x3333333333333333);
    return (mask + (mask >> 4)) & 0x0f0f0f0f0f0f0f0f;
}

// In each byte, the number of bits set in the bytes below it.
LAMINA_INLINE uint64_t tier_bits_below(uint64_t mask) {
    return tier_count_bits(mask) * 0x0101010101010100;
}

// The entries for TIER_GROUP bytes.
LAMINA_INLINE void tier_translate_each(const uint8_t table[256], const uint8_t *source, uint8_t *target) {
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        target[i] = table[source[i]];
    }
}

#endif
