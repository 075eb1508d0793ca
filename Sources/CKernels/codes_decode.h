// Decoding ecq-tier segments: tier 1 a group of 512 codes at a time, its last symbols from the levels of tier_levels.h.
// Compiled once per instruction set, after what that needs and
//   tier_load_bytes(source)
//   tier_field(bytes, shift, mask)   (byte >> shift) & mask of each byte, which has no bits above these
//   tier_at_least(bytes, value)      one bit for each byte < 128; value from 1 to 127
#ifndef LAMINA_CODES_DECODE_H
#define LAMINA_CODES_DECODE_H

#include "codes.h"
#include "tier_levels.h"

_Static_assert(CODES_TIERS - 1 == 3 && 3 * TIER_BUFFER <= LAMINA_CODES_SCRATCH, "the scratch holds all there is");
_Static_assert(LAMINA_CODES_GROUP <= TIER_RESERVE, "a group is one step");

typedef struct codes_decoder {
    tier_level levels[CODES_TIERS];
    const uint8_t *groups;  // of tier 1, the next one
    uint8_t table[16];      // for the upper 4 bits of tier 1: a base, or 0 for the last symbol, plus the raw bits there
    uint8_t last;           // the upper bits from here on are of the last symbol
} codes_decoder;

// Raw bits below the upper 4 are added as they are.
LAMINA_INLINE size_t codes_lower_bits(size_t bits) {
    return bits > 4 ? bits - 4 : 0;
}

static void codes_prepare_table(codes_decoder *decoder, const codes_layout *layout, const uint8_t *entries) {
    const size_t width = layout->split.widths[0];
    const size_t lower = codes_lower_bits(layout->bits);
    const size_t raw_bits = layout->split.raw_bits - lower;  // among the upper ones
    const size_t last = ((size_t)1 << width) - 1;
    memset(decoder->table, 0, sizeof decoder->table);
    for (size_t i = 0; i < (size_t)1 << (width + raw_bits); ++i) {
        const size_t symbol = i >> raw_bits;
        const size_t raw = (i & (((size_t)1 << raw_bits) - 1)) << lower;
        decoder->table[i] = (uint8_t)((symbol < last ? entries[symbol] : 0) + raw);
    }
    decoder->last = (uint8_t)(last << raw_bits);
}

// Scratch: a buffer for each tier but the first.
static bool codes_begin(codes_decoder *decoder, const codes_layout *layout, const uint8_t *bytes, uint8_t *scratch) {
    const uint8_t *entries = bytes + CODES_PALETTE_OFFSET;
    codes_prepare_table(decoder, layout, entries);
    decoder->groups = bytes + layout->offsets[0];
    for (size_t i = 0; i + 1 < CODES_TIERS; ++i) {
        uint8_t *buffer = scratch + i * TIER_BUFFER;
        decoder->levels[i] = (tier_level){
            .entries = entries + (i + 1) * CODES_ENTRIES,
            .groups = bytes + layout->offsets[i + 1],
            .group_count = tier_groups(layout->counts[i + 1]),
            .symbols = layout->counts[i + 1],
            .width = layout->split.widths[i + 1],
            .values = buffer,
            .buffer = buffer,
        };
    }
    // A step that begins at the last escape reads 64 bytes beyond it: tier 1 has them.
    decoder->levels[CODES_TIERS - 1] = (tier_level){
        .values = bytes + layout->offsets[CODES_TIERS],
        .count = layout->counts[CODES_TIERS],
        .limit = layout->counts[CODES_TIERS],
    };
    return tier_fill_levels(decoder->levels, CODES_TIERS);
}

// Part `part` of a group's field of 1, 2 or 4 bits, as many vectors: each byte has the bits of neighbouring parts.
LAMINA_INLINE tier_bytes codes_field(const uint8_t *vectors, size_t width, size_t part) {
    const size_t bit = part * width;
    return tier_field(tier_load_bytes(vectors + bit / 8 * TIER_GROUP), bit % 8, (uint8_t)((1u << width) - 1));
}

// The fields of a group's codes: 4, 2 and 1 of their bits from the top, as `bits` has them in binary.
LAMINA_INLINE tier_bytes codes_upper(const uint8_t *group, size_t bits, size_t part) {
    if (bits >= 4) {
        return codes_field(group, 4, part);
    }
    const tier_bytes pairs = codes_field(group, 2, part);
    if (bits == 2) {
        return pairs;
    }
    return tier_add(tier_add(pairs, pairs), codes_field(group + 2 * TIER_GROUP, 1, part));
}

// Up to `groups` groups while tier 2 has values for them; returns how many.
LAMINA_INLINE size_t codes_decode_width(codes_decoder *decoder, size_t bits, uint8_t *codes, size_t groups) {
    tier_level *below = &decoder->levels[0];
    const tier_table table = tier_table_load(decoder->table);
    const uint8_t last = decoder->last;
    const uint8_t *group = decoder->groups;
    const uint8_t *values = below->values;
    const size_t limit = below->limit;
    size_t position = below->position;
    size_t done = 0;
    for (; done < groups && position <= limit; ++done) {
        LAMINA_UNROLL
        for (size_t part = 0; part < CODES_PARTS; ++part) {
            if (part < bits) {
                __builtin_prefetch(group + TIER_PREFETCH + part * TIER_GROUP, 0, 3);
            }
            const tier_bytes upper = codes_upper(group, bits, part);
            const uint64_t rest = tier_at_least(upper, last);
            tier_bytes found = tier_add(tier_look_up(table, upper), tier_expand_next(rest, values + position));
            if (bits > 4) {
                found = tier_add(found, codes_field(group + 4 * TIER_GROUP, codes_lower_bits(bits), part));
            }
            position += (size_t)__builtin_popcountll(rest);
            tier_store_values(codes + part * TIER_GROUP, found);
        }
        group += bits * TIER_GROUP;
        codes += LAMINA_CODES_GROUP;
    }
    decoder->groups = group;
    below->position = position;
    return done;
}

static size_t codes_decode_run(codes_decoder *decoder, size_t bits, uint8_t *codes, size_t groups) {
    switch (bits) {
    case 2: return codes_decode_width(decoder, 2, codes, groups);
    case 3: return codes_decode_width(decoder, 3, codes, groups);
    case 4: return codes_decode_width(decoder, 4, codes, groups);
    case 5: return codes_decode_width(decoder, 5, codes, groups);
    default: return codes_decode_width(decoder, 6, codes, groups);
    }
}

static bool decode_codes(const void *segment, size_t size, uint8_t *codes, size_t count, void *scratch) {
    codes_layout layout;
    codes_decoder decoder;
    if (!lamina_codes_open(segment, size, count, &layout)) {
        return false;
    }
    const uint8_t *bytes = segment;
    if (layout.bits == 0) {
        memcpy(codes, bytes + layout.offsets[0], count);
        return true;
    }
    if (!codes_begin(&decoder, &layout, bytes, scratch)) {
        return false;
    }
    const size_t groups = count / LAMINA_CODES_GROUP;
    size_t done = codes_decode_run(&decoder, layout.bits, codes, groups);
    while (done < groups) {
        if (!tier_refill(decoder.levels)) {
            return false;
        }
        done += codes_decode_run(&decoder, layout.bits, codes + done * LAMINA_CODES_GROUP, groups - done);
    }
    return tier_levels_are_finished(decoder.levels, CODES_TIERS);
}

#endif
