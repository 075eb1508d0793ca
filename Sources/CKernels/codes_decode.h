// Decoding ecq-tier segments: tier 1 a group of 512 codes at a time, its last symbols from the levels of tier_levels.h.
// Compiled once per instruction set, after what that needs and
//   tier_load_bytes(source)
//   tier_table, tier_table_load(entries)   16 entries, ready for use
//   tier_look_up(table, indices)     the entries of 64 indices < 16
//   tier_expand_next(bits, next)     the next of `next` where the bit is set, 0 elsewhere
//   tier_add(a, b)                   of each byte, modulo 256
//   tier_field(bytes, shift, mask)   (byte >> shift) & mask of each byte, which has no bits above these
//   tier_at_least(bytes, value)      one bit for each byte; both below 128
//   tier_and(a, b)
#ifndef LAMINA_CODES_DECODE_H
#define LAMINA_CODES_DECODE_H

#include "codes.h"
#include "tier_levels.h"

enum {
    CODES_LEVELS = CODES_TIERS,   // tiers 2 to 5 and the escapes
    CODES_BUFFERS = CODES_TIERS,  // of these tiers and of the pairs
    CODES_PARTS = LAMINA_CODES_GROUP / TIER_GROUP,
};

_Static_assert(CODES_BUFFERS * TIER_BUFFER <= LAMINA_CODES_SCRATCH, "the scratch holds all there is");
_Static_assert(LAMINA_CODES_GROUP <= TIER_RESERVE, "a group is one step");

// Tables are for the upper 4 bits of tier 1, or all if there are fewer; `first_pair` and `last` are such bits, too.
typedef struct codes_decoder {
    tier_level levels[CODES_LEVELS];
    tier_level pairs;                     // the bits as bytes 0 or 255
    const uint8_t *groups;                // of tier 1, the next one
    uint8_t bases[16];                    // of single symbols or the first of two, 0 for the last symbol; plus raw bits
    uint8_t differences[16];              // of paired symbols: the second base minus the first
    uint8_t first_pair;                   // from here on the symbol is paired,
    uint8_t last;                         // from here on it is the last one
} codes_decoder;

// Raw bits below the upper 4 are added as they are.
LAMINA_INLINE size_t codes_lower_bits(size_t bits) {
    return bits > 4 ? bits - 4 : 0;
}

static void codes_prepare_tables(codes_decoder *decoder, const codes_layout *layout, const uint8_t *palette) {
    const codes_split *split = &layout->split;
    const size_t lower = codes_lower_bits(layout->bits);
    const size_t raw_bits = split->raw_bits - lower;  // among the upper ones
    const size_t singles = split->singles;
    const size_t last = codes_last(split, 0);
    memset(decoder->bases, 0, sizeof decoder->bases);
    memset(decoder->differences, 0, sizeof decoder->differences);
    for (size_t i = 0; i < (last + 1) << raw_bits; ++i) {
        const size_t symbol = i >> raw_bits;
        uint8_t base = 0;
        if (symbol < singles) {
            base = palette[symbol];
        } else if (symbol < last) {
            const uint8_t *pair = palette + singles + 2 * (symbol - singles);
            base = pair[0];
            decoder->differences[i] = (uint8_t)(pair[1] - pair[0]);
        }
        decoder->bases[i] = (uint8_t)(base + ((i & (((size_t)1 << raw_bits) - 1)) << lower));
    }
    decoder->first_pair = (uint8_t)(singles << raw_bits);
    decoder->last = (uint8_t)(last << raw_bits);
}

static tier_level codes_level(const codes_layout *layout, size_t stream, const uint8_t *bytes, uint8_t *buffer) {
    return (tier_level){
        .groups = bytes + layout->offsets[stream],
        .group_count = tier_groups(layout->counts[stream]),
        .symbols = layout->counts[stream],
        .width = stream == CODES_PAIRS ? 0 : codes_planes(&layout->split, stream),
        .values = buffer,
        .buffer = buffer,
    };
}

// Scratch: CODES_BUFFERS buffers of TIER_BUFFER.
static bool codes_begin(codes_decoder *decoder, const codes_layout *layout, const uint8_t *bytes, uint8_t *scratch) {
    const uint8_t *palette = bytes + CODES_PALETTE_OFFSET;
    codes_prepare_tables(decoder, layout, palette);
    decoder->groups = bytes + layout->offsets[CODES_FIRST];
    for (size_t tier = 1; tier < CODES_TIERS; ++tier) {
        palette += codes_entries(&layout->split, tier - 1);
        tier_level *level = &decoder->levels[tier - 1];
        *level = codes_level(layout, CODES_LOWER + tier - 1, bytes, scratch + tier * TIER_BUFFER);
        level->entries = palette;
    }
    // A step that begins at the last escape reads 64 bytes beyond it: tier 1 has them.
    decoder->levels[CODES_LEVELS - 1] = (tier_level){
        .values = bytes + layout->offsets[CODES_ESCAPES],
        .count = layout->counts[CODES_ESCAPES],
        .limit = layout->counts[CODES_ESCAPES],
    };
    decoder->pairs = codes_level(layout, CODES_PAIRS, bytes, scratch);
    return tier_fill_levels(decoder->levels, CODES_LEVELS) &&
           (decoder->pairs.group_count == 0 || tier_refill(&decoder->pairs));
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

// Up to `groups` groups while the levels have values for them; returns how many.
LAMINA_INLINE size_t codes_decode_width(codes_decoder *decoder, size_t bits, uint8_t *codes, size_t groups) {
    tier_level *below = &decoder->levels[0];
    tier_level *pairs = &decoder->pairs;
    const tier_table bases = tier_table_load(decoder->bases);
    const tier_table differences = tier_table_load(decoder->differences);
    const uint8_t first_pair = decoder->first_pair;
    const uint8_t last = decoder->last;
    const uint8_t *group = decoder->groups;
    const uint8_t *value = below->values + below->position;
    const uint8_t *value_limit = below->values + below->limit;
    const uint8_t *choice = pairs->values + pairs->position;
    const uint8_t *choice_limit = pairs->values + pairs->limit;
    size_t done = 0;
    for (; done < groups && value <= value_limit && choice <= choice_limit; ++done) {
        LAMINA_UNROLL
        for (size_t part = 0; part < CODES_PARTS; ++part) {
            if (part < bits) {
                __builtin_prefetch(group + TIER_PREFETCH + part * TIER_GROUP, 0, 3);
            }
            const tier_bytes upper = codes_upper(group, bits, part);
            const uint64_t rest = tier_at_least(upper, last);
            const uint64_t paired = tier_at_least(upper, first_pair) ^ rest;
            const tier_bytes second = tier_and(tier_look_up(differences, upper), tier_expand_next(paired, choice));
            tier_bytes found = tier_add(tier_look_up(bases, upper), tier_add(second, tier_expand_next(rest, value)));
            if (bits > 4) {
                found = tier_add(found, codes_field(group + 4 * TIER_GROUP, codes_lower_bits(bits), part));
            }
            value += __builtin_popcountll(rest);
            choice += __builtin_popcountll(paired);
            tier_store_values(codes + part * TIER_GROUP, found);
        }
        group += bits * TIER_GROUP;
        codes += LAMINA_CODES_GROUP;
    }
    decoder->groups = group;
    below->position = (size_t)(value - below->values);
    pairs->position = (size_t)(choice - pairs->values);
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

// Expands the next run of the levels of which a run is used up. False if there is none.
static bool codes_refill(codes_decoder *decoder) {
    const bool needs_values = decoder->levels[0].position > decoder->levels[0].limit;
    const bool needs_choices = decoder->pairs.position > decoder->pairs.limit;
    return (!needs_values || tier_refill(decoder->levels)) && (!needs_choices || tier_refill(&decoder->pairs));
}

static bool decode_codes(const void *segment, size_t size, uint8_t *codes, size_t count, void *scratch) {
    codes_layout layout;
    codes_decoder decoder;
    if (!lamina_codes_open(segment, size, count, &layout)) {
        return false;
    }
    const uint8_t *bytes = segment;
    if (layout.bits == 0) {
        memcpy(codes, bytes + layout.offsets[CODES_FIRST], count);
        return true;
    }
    if (!codes_begin(&decoder, &layout, bytes, scratch)) {
        return false;
    }
    const size_t groups = count / LAMINA_CODES_GROUP;
    size_t done = codes_decode_run(&decoder, layout.bits, codes, groups);
    while (done < groups) {
        if (!codes_refill(&decoder)) {
            return false;
        }
        done += codes_decode_run(&decoder, layout.bits, codes + done * LAMINA_CODES_GROUP, groups - done);
    }
    return tier_levels_are_finished(decoder.levels, CODES_LEVELS) && tier_levels_are_finished(&decoder.pairs, 1);
}

#endif
