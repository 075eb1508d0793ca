// Encoding ecq-tier segments: one pass counts the codes, from which split, palette and all offsets follow, one writes.
// Codes that a tier does not name are compressed into a buffer, from which the next tier is written. Compiled once per
// instruction set, after what tier_encode.h needs and
//   tier_translate(table, source)   the entries of a table of 256 for 64 bytes
//   tier_test(bytes, bit)           one bit for each byte: whether it has this one
//   tier_at_least(bytes, value)     one bit for each byte < 128; value from 1 to 127
#ifndef LAMINA_CODES_ENCODE_H
#define LAMINA_CODES_ENCODE_H

#include "codes.h"

enum {
    CODES_ENCODE_RUN = 8 * LAMINA_CODES_GROUP,  // codes after which the lower tiers are written
    // A run, what was left of a group, and what compressing may write beyond.
    CODES_ENCODE_BUFFER = CODES_ENCODE_RUN + 2 * TIER_GROUP + TIER_GROUP,
    CODES_HISTOGRAMS = 8,  // so that no counter waits for itself
};

// Codes that a tier does not name.
typedef struct codes_rest {
    size_t count;
    uint8_t codes[CODES_ENCODE_BUFFER];
} codes_rest;

static void codes_count(const uint8_t *codes, size_t count, uint32_t frequencies[256]) {
    uint32_t histograms[CODES_HISTOGRAMS][256] = {{0}};
    for (size_t i = 0; i < count; i += CODES_HISTOGRAMS) {
        uint64_t eight = tier_load_bits(codes + i);
        LAMINA_UNROLL
        for (size_t lane = 0; lane < CODES_HISTOGRAMS; ++lane) {
            histograms[lane][eight & 255] += 1;
            eight >>= 8;
        }
    }
    for (size_t code = 0; code < 256; ++code) {
        frequencies[code] = 0;
        for (size_t lane = 0; lane < CODES_HISTOGRAMS; ++lane) {
            frequencies[code] += histograms[lane][code];
        }
    }
}

// The bits from `shift` on of a group's symbols as a field of `width` bits; returns its end.
LAMINA_INLINE uint8_t *codes_pack_field(const uint8_t *symbols, size_t width, size_t shift, uint8_t *vectors) {
    const uint64_t mask = 0x0101010101010101 * ((1u << width) - 1);
    for (size_t vector = 0; vector < width; ++vector) {
        for (size_t i = 0; i < TIER_GROUP; i += 8) {
            uint64_t packed = 0;
            for (size_t part = 0; part < 8 / width; ++part) {
                const uint64_t eight = tier_load_bits(symbols + (vector * 8 / width + part) * TIER_GROUP + i);
                packed |= (eight >> shift & mask) << part * width;
            }
            memcpy(vectors + i, &packed, sizeof packed);
        }
        vectors += TIER_GROUP;
    }
    return vectors;
}

LAMINA_INLINE void codes_pack_width(const uint8_t *symbols, size_t bits, uint8_t *group) {
    if (bits >= 4) {
        group = codes_pack_field(symbols, 4, bits - 4, group);
    }
    if (bits & 2) {
        group = codes_pack_field(symbols, 2, bits & 1, group);
    }
    if (bits & 1) {
        codes_pack_field(symbols, 1, 0, group);
    }
}

static void codes_pack(const uint8_t *symbols, size_t bits, uint8_t *group) {
    switch (bits) {
    case 2: codes_pack_width(symbols, 2, group); break;
    case 3: codes_pack_width(symbols, 3, group); break;
    case 4: codes_pack_width(symbols, 4, group); break;
    case 5: codes_pack_width(symbols, 5, group); break;
    default: codes_pack_width(symbols, 6, group); break;
    }
}

LAMINA_INLINE void codes_keep_rest(codes_rest *rest, const uint8_t *codes, uint64_t mask) {
    tier_compress(tier_load_bytes(codes), mask, rest->codes + rest->count);
    rest->count += (size_t)__builtin_popcountll(mask);
}

// Tier 1 of one group.
static void codes_write_group(const codes_plan *plan, const uint8_t *codes, uint8_t *group, codes_rest *rest) {
    const codes_split *split = &plan->layout.split;
    const uint8_t last = (uint8_t)(((1u << split->widths[0]) - 1) << split->raw_bits);
    uint8_t symbols[LAMINA_CODES_GROUP];
    for (size_t part = 0; part < LAMINA_CODES_GROUP; part += TIER_GROUP) {
        const tier_bytes found = tier_translate(plan->symbols[0], codes + part);
        tier_store_values(symbols + part, found);
        codes_keep_rest(rest, codes + part, tier_at_least(found, last));
    }
    codes_pack(symbols, plan->layout.bits, group);
}

// One group of a lower tier, of which the symbols in `valid` are there; returns its end.
static uint8_t *codes_write_planes(
    const uint8_t symbols[256], size_t width, const uint8_t *codes, uint64_t valid, uint8_t *planes, codes_rest *rest) {
    const tier_bytes found = tier_translate(symbols, codes);
    uint64_t last = valid;
    for (size_t bit = 0; bit < width; ++bit) {
        const uint64_t plane = tier_test(found, (uint8_t)(1u << bit)) & valid;
        memcpy(planes + bit * TIER_PLANE_BYTES, &plane, sizeof plane);
        last &= plane;
    }
    codes_keep_rest(rest, codes, last);
    return planes + width * TIER_PLANE_BYTES;
}

// Writes the whole groups of what the tier before does not name, or all of it; returns their end.
static uint8_t *codes_drain(
    codes_rest *before, const uint8_t symbols[256], size_t width, bool all, uint8_t *planes, codes_rest *rest) {
    size_t done = 0;
    for (; done + TIER_GROUP <= before->count; done += TIER_GROUP) {
        planes = codes_write_planes(symbols, width, before->codes + done, UINT64_MAX, planes, rest);
    }
    const size_t left = before->count - done;
    if (all && left > 0) {
        memset(before->codes + before->count, 0, TIER_GROUP - left);
        const uint64_t valid = UINT64_MAX >> (TIER_GROUP - left);
        planes = codes_write_planes(symbols, width, before->codes + done, valid, planes, rest);
    }
    before->count = left;
    memmove(before->codes, before->codes + done, left);
    return planes;
}

static void codes_write_tiers(const codes_plan *plan, const uint8_t *codes, uint8_t *bytes) {
    const codes_layout *layout = &plan->layout;
    codes_rest rests[CODES_TIERS];
    uint8_t *targets[CODES_TIERS + 1];
    for (size_t tier = 0; tier <= CODES_TIERS; ++tier) {
        targets[tier] = bytes + layout->offsets[tier];
    }
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        rests[tier].count = 0;
    }
    const size_t count = layout->counts[0];
    for (size_t done = 0; done < count; done += CODES_ENCODE_RUN) {
        const size_t run = LAMINA_MIN(count - done, (size_t)CODES_ENCODE_RUN);
        for (size_t group = 0; group < run; group += LAMINA_CODES_GROUP) {
            codes_write_group(plan, codes + done + group, targets[0], &rests[0]);
            targets[0] += layout->bits * TIER_GROUP;
        }
        for (size_t tier = 1; tier < CODES_TIERS; ++tier) {
            targets[tier] = codes_drain(&rests[tier - 1], plan->symbols[tier], layout->split.widths[tier],
                                        done + run == count, targets[tier], &rests[tier]);
        }
        codes_rest *escapes = &rests[CODES_TIERS - 1];
        for (size_t i = 0; i < escapes->count; ++i) {
            *targets[CODES_TIERS]++ = plan->bases[escapes->codes[i]];
        }
        escapes->count = 0;
    }
}

static size_t encode_codes(const uint8_t *codes, size_t count, void *segment) {
    uint8_t *bytes = segment;
    uint32_t frequencies[256];
    codes_plan plan;
    codes_count(codes, count, frequencies);
    lamina_codes_begin(frequencies, count, &plan, bytes);
    if (plan.layout.bits == 0) {
        memcpy(bytes + plan.layout.offsets[0], codes, count);
    } else {
        codes_write_tiers(&plan, codes, bytes);
    }
    return plan.layout.size;
}

#endif
