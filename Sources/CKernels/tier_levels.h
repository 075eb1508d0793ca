// What both tier codes decode by (tier_decode.h, codes_decode.h): the lower tiers are expanded to bytes first, a run at
// a time into scratch that stays in the first-level cache; a group of 64 symbols then takes its bytes from the palette
// and, where its symbol is the last, from the next bytes of the tier below. Compiled once per instruction set, after
// these are defined:
//   tier_bytes                     64 bytes, in the order the instruction set likes best; tier_values is another name
//   tier_palette, tier_palette_load(entries)   three entries, ready for use
//   tier_lookup(palette, low, high, next)      64 symbols' values; symbol 3 takes the next of `next`, 64 readable bytes
//   tier_spread(bits)                          64 bytes: 255 where the bit is set, 0 elsewhere
//   tier_store_values(target, values)          the 64 bytes in order
#ifndef LAMINA_TIER_LEVELS_H
#define LAMINA_TIER_LEVELS_H

#include "tier.h"

enum {
    TIER_RUN = 8192,    // symbols of a lower tier expanded at once
    TIER_RESERVE = 512, // values that a step of up to eight groups may take
    // Values left over, a run, and what a step may take and read beyond the last one if the segment is corrupt.
    TIER_BUFFER = TIER_RESERVE + TIER_RUN + TIER_RESERVE,
    TIER_PREFETCH = 4096,  // bytes ahead
};

// A tier below the first, or the escapes: values for the last symbols of the tier before. A step may begin while
// position <= limit.
typedef struct tier_level {
    const uint8_t *entries;  // of the palette: 3 bytes, of which width 1 uses the first
    const uint8_t *groups;   // not expanded yet
    size_t group_count;
    size_t symbols;          // in these groups
    size_t width;            // bits of a symbol, 1 or 2; or 0: single bits, all of which stand for a byte 0 or 255
    const uint8_t *values;   // expanded
    uint8_t *buffer;         // where they are, unless they are the escapes
    size_t position;         // of the next value to be taken
    size_t count;
    size_t limit;
} tier_level;

// Expands up to `groups` groups of `level` while the level below has values for them; returns how many.
LAMINA_INLINE size_t tier_expand_width(
    const tier_level *level, size_t width, size_t first, size_t groups, tier_level *below) {
    const tier_palette palette = tier_palette_load(level->entries);
    const uint8_t *bits = level->groups + first * width * TIER_PLANE_BYTES;
    uint8_t *target = level->buffer + level->count + first * TIER_GROUP;
    const uint8_t *values = below->values;
    const size_t limit = below->limit;
    size_t position = below->position;
    size_t done = 0;
    for (; done < groups && position <= limit; ++done) {
        // A bit twice is symbol 0 or 3.
        const uint64_t low = tier_load_bits(bits);
        const uint64_t high = width == 1 ? low : tier_load_bits(bits + TIER_PLANE_BYTES);
        tier_store_values(target, tier_lookup(&palette, low, high, values + position));
        position += (size_t)__builtin_popcountll(low & high);
        bits += width * TIER_PLANE_BYTES;
        target += TIER_GROUP;
    }
    below->position = position;
    return done;
}

static size_t tier_expand_bits(const tier_level *level, size_t first, size_t groups) {
    uint8_t *target = level->buffer + level->count + first * TIER_GROUP;
    for (size_t group = first; group < first + groups; ++group) {
        tier_store_values(target, tier_spread(tier_load_bits(level->groups + group * TIER_PLANE_BYTES)));
        target += TIER_GROUP;
    }
    return groups;
}

static size_t tier_expand(const tier_level *level, size_t first, size_t groups, tier_level *below) {
    switch (level->width) {
    case 0: return tier_expand_bits(level, first, groups);
    case 1: return tier_expand_width(level, 1, first, groups, below);
    default: return tier_expand_width(level, 2, first, groups, below);
    }
}

// Expands the next run of levels[0] behind the few values that are left of the last. False if there are no more.
static bool tier_refill(tier_level *levels) {
    tier_level *level = levels;
    if (level->group_count == 0) {
        return false;
    }
    level->count -= level->position;
    memmove(level->buffer, level->buffer + level->position, level->count);
    level->position = 0;
    const size_t groups = LAMINA_MIN(level->group_count, (size_t)TIER_RUN / TIER_GROUP);
    size_t done = tier_expand(level, 0, groups, levels + 1);
    while (done < groups) {
        if (!tier_refill(levels + 1)) {
            return false;
        }
        done += tier_expand(level, done, groups - done, levels + 1);
    }
    const size_t symbols = LAMINA_MIN(level->symbols, groups * TIER_GROUP);
    level->groups += groups * (level->width == 0 ? 1 : level->width) * TIER_PLANE_BYTES;
    level->group_count -= groups;
    level->symbols -= symbols;
    level->count += symbols;
    level->limit = level->group_count == 0 ? level->count : level->count - TIER_RESERVE;
    return true;
}

// Expands the first run of every level, the lowest first. levels[count - 1] are the escapes.
static bool tier_fill_levels(tier_level *levels, size_t count) {
    for (size_t i = count - 1; i-- > 0;) {
        if (levels[i].group_count > 0 && !tier_refill(levels + i)) {
            return false;
        }
    }
    return true;
}

// Whether every value was taken, and none that was not there.
static bool tier_levels_are_finished(const tier_level *levels, size_t count) {
    bool finished = true;
    for (size_t i = 0; i < count; ++i) {
        finished = finished && levels[i].group_count == 0 && levels[i].position == levels[i].count;
    }
    return finished;
}

#endif
