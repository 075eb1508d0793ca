// ecq-tier segments (formats/ecq-tier.md) and where their parts are. A code is a base plus its raw low bits. Tier 1 has
// a symbol and the raw bits of every code: single symbols are a base of the palette, paired ones two of them, between
// which a bit of the next stream chooses; the last symbol of a tier sends the code on to the next tier, and behind tier
// 5 to the escapes, which are bases. All other symbols of the lower tiers are single.
#ifndef LAMINA_CODES_H
#define LAMINA_CODES_H

#include "tier.h"

// What a segment consists of, in the order of the header's counts. Tier 1 comes last in the segment.
enum {
    CODES_FIRST,                        // tier 1
    CODES_PAIRS,                        // one bit for each paired symbol
    CODES_LOWER,                        // tiers 2 to 5
    CODES_ESCAPES = CODES_LOWER + 4,
    CODES_STREAMS,
};

enum {
    CODES_TIERS = 5,
    CODES_RAW_BITS = 3,      // at most
    CODES_FIRST_WIDTH = 2,   // of tier 1, at least
    CODES_WIDTH = 3,         // of the same, at most
    CODES_LOWER_WIDTH = 2,   // of the other tiers, at most
    CODES_SPLIT_OFFSET = 4 * CODES_STREAMS,
    CODES_PALETTE_OFFSET = CODES_SPLIT_OFFSET + 2 + CODES_TIERS,
    CODES_PALETTE = 2 * 7 + 4 * 3,  // entries at most
    CODES_HEADER = 64,
};

// As the header holds it. All 0: the codes are stored verbatim.
typedef struct codes_split {
    uint8_t raw_bits;
    uint8_t singles;              // symbols of tier 1
    uint8_t widths[CODES_TIERS];  // bits of a symbol
} codes_split;

_Static_assert(sizeof(codes_split) == CODES_PALETTE_OFFSET - CODES_SPLIT_OFFSET, "the header's bytes");
_Static_assert(CODES_PALETTE_OFFSET + CODES_PALETTE <= CODES_HEADER, "the palette fits");

typedef struct codes_layout {
    codes_split split;
    size_t bits;                    // of a code in tier 1: its symbol above its raw bits; 0 if stored verbatim
    size_t counts[CODES_STREAMS];   // symbols, bits or escapes
    size_t offsets[CODES_STREAMS];  // from the segment's beginning
    size_t size;
} codes_layout;

// What encoding needs beside the layout.
typedef struct codes_plan {
    codes_layout layout;
    uint8_t symbols[CODES_ESCAPES][256];  // of each code in each stream; in tier 1 with its raw bits
    uint8_t bases[256];                   // of each code
} codes_plan;

// Symbols of tier 1 or a lower tier before the last one.
LAMINA_INLINE size_t codes_last(const codes_split *split, size_t tier) {
    return ((size_t)1 << split->widths[tier]) - 1;
}

// Entries of the palette that a tier has.
LAMINA_INLINE size_t codes_entries(const codes_split *split, size_t tier) {
    const size_t last = codes_last(split, tier);
    return tier == 0 ? 2 * last - split->singles : last;
}

// Bits of a symbol of a stream other than the first and the escapes.
LAMINA_INLINE size_t codes_planes(const codes_split *split, size_t stream) {
    return stream == CODES_PAIRS ? 1 : split->widths[stream - CODES_PAIRS];
}

codes_layout lamina_codes_layout(codes_split split, const size_t counts[CODES_STREAMS]);

// Checks everything that decode_codes promises except that the streams need each other's counts.
bool lamina_codes_open(const uint8_t *segment, size_t size, size_t count, codes_layout *layout);

// Chooses the split and the palette that make the smallest segment of codes of these frequencies and writes all of it
// that does not depend on the order of the codes: header and zeros behind the escapes.
void lamina_codes_begin(const uint32_t frequencies[256], size_t count, codes_plan *plan, uint8_t *segment);

#endif
