// Decoding exp-tier segments: tier 1 group by group, its words from the palette and the levels of tier_levels.h.
// Compiled once per instruction set, after what that needs and
//   tier_store_words(target, exponents, sign_mantissa)   64 words
#ifndef LAMINA_TIER_DECODE_H
#define LAMINA_TIER_DECODE_H

#include "tier_levels.h"

typedef struct tier_decoder {
    const uint8_t *entries;
    const uint8_t *groups;  // of tier 1, the next one
    const uint8_t *sign_mantissa;
    tier_level levels[TIER_COUNT];
} tier_decoder;

// Scratch: two buffers of TIER_BUFFER.
static bool tier_begin(tier_decoder *decoder, const void *segment, size_t size, size_t count, uint8_t *scratch) {
    const uint8_t *bytes = segment;
    tier_layout layout;
    if (!lamina_tier_open(bytes, size, count, &layout)) {
        return false;
    }
    const uint8_t *entries = bytes + TIER_PALETTE_OFFSET;
    decoder->entries = entries;
    decoder->groups = bytes + layout.offsets[0];
    decoder->sign_mantissa = bytes + layout.sign_mantissa;
    tier_level *levels = decoder->levels;
    for (size_t i = 0; i + 1 < TIER_COUNT; ++i) {
        uint8_t *buffer = scratch + i * TIER_BUFFER;
        levels[i] = (tier_level){
            .entries = entries + (i + 1) * TIER_ENTRIES,
            .groups = bytes + layout.offsets[i + 1],
            .group_count = tier_groups(layout.counts[i + 1]),
            .symbols = layout.counts[i + 1],
            .width = 2,
            .values = buffer,
            .buffer = buffer,
        };
    }
    // A step that begins at the last escape reads 64 bytes beyond it: sign_mantissa has them.
    levels[TIER_COUNT - 1] = (tier_level){
        .values = bytes + layout.offsets[TIER_COUNT],
        .count = layout.counts[TIER_COUNT],
        .limit = layout.counts[TIER_COUNT],
    };
    return tier_fill_levels(levels, TIER_COUNT);
}

static bool tier_is_finished(const tier_decoder *decoder) {
    return tier_levels_are_finished(decoder->levels, TIER_COUNT);
}

// What the loops over tier 1 move: a copy, so that it stays in registers.
typedef struct tier_cursor {
    tier_palette palette;
    const uint8_t *groups;
    const uint8_t *sign_mantissa;
    const uint8_t *values;
    size_t position;
    size_t limit;
} tier_cursor;

LAMINA_INLINE tier_cursor tier_cursor_of(const tier_decoder *decoder) {
    const tier_level *below = &decoder->levels[0];
    return (tier_cursor){
        .palette = tier_palette_load(decoder->entries),
        .groups = decoder->groups,
        .sign_mantissa = decoder->sign_mantissa,
        .values = below->values,
        .position = below->position,
        .limit = below->limit,
    };
}

LAMINA_INLINE void tier_cursor_keep(const tier_cursor *cursor, tier_decoder *decoder) {
    decoder->groups = cursor->groups;
    decoder->sign_mantissa = cursor->sign_mantissa;
    decoder->levels[0].position = cursor->position;
}

// The next group's exponents; cursor->sign_mantissa has its other bytes, and is for the caller to move.
LAMINA_INLINE tier_values tier_next_exponents(tier_cursor *cursor) {
    __builtin_prefetch(cursor->sign_mantissa + TIER_PREFETCH, 0, 3);
    __builtin_prefetch(cursor->groups + TIER_PREFETCH, 0, 3);
    const uint64_t low = tier_load_bits(cursor->groups);
    const uint64_t high = tier_load_bits(cursor->groups + 8);
    const tier_values exponents = tier_lookup(&cursor->palette, low, high, cursor->values + cursor->position);
    cursor->position += (size_t)__builtin_popcountll(low & high);
    cursor->groups += TIER_GROUP_BYTES;
    return exponents;
}

// Decodes up to `groups` groups of 64 words while tier 2 has values for them; returns how many.
static size_t tier_decode_run(tier_decoder *decoder, uint16_t *words, size_t groups) {
    tier_cursor cursor = tier_cursor_of(decoder);
    size_t done = 0;
    for (; done < groups && cursor.position <= cursor.limit; ++done) {
        tier_store_words(words, tier_next_exponents(&cursor), cursor.sign_mantissa);
        cursor.sign_mantissa += TIER_GROUP;
        words += TIER_GROUP;
    }
    tier_cursor_keep(&cursor, decoder);
    return done;
}

static bool tier_decode_groups(tier_decoder *decoder, uint16_t *words, size_t groups) {
    size_t done = tier_decode_run(decoder, words, groups);
    while (done < groups) {
        if (!tier_refill(decoder->levels)) {
            return false;
        }
        done += tier_decode_run(decoder, words + done * TIER_GROUP, groups - done);
    }
    return true;
}

// A `count` that is not a multiple of 64 ends the segment.
static bool tier_decode_words(tier_decoder *decoder, uint16_t *words, size_t count) {
    const size_t whole = count / TIER_GROUP;
    if (!tier_decode_groups(decoder, words, whole)) {
        return false;
    }
    if (count % TIER_GROUP == 0) {
        return true;
    }
    uint16_t last[TIER_GROUP];
    if (!tier_decode_groups(decoder, last, 1)) {
        return false;
    }
    memcpy(words + whole * TIER_GROUP, last, count % TIER_GROUP * sizeof *last);
    return true;
}

static bool decode_tier(const void *segment, size_t size, uint16_t *weights, size_t count, void *scratch) {
    tier_decoder decoder;
    return tier_begin(&decoder, segment, size, count, scratch) && tier_decode_words(&decoder, weights, count) &&
           tier_is_finished(&decoder);
}

#endif
