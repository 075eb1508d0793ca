// ecq-tier segments (formats/ecq-tier.md) and where their parts are. A code is a base plus its raw low bits. Tier 1 has a
// symbol and the raw bits of every code; the last symbol of a tier sends the code on to the next tier, and behind tier 4
// to the escapes, which are bases. Every other symbol is a base of the palette.
#ifndef LAMINA_CODES_H
#define LAMINA_CODES_H

#include "tier.h"

enum {
    CODES_TIERS = 4,
    CODES_PARTS = LAMINA_CODES_GROUP / TIER_GROUP,
    CODES_RAW_BITS = 3,        // at most
    CODES_FIRST_WIDTH = 2,     // of tier 1, at least
    CODES_WIDTH = 3,           // of any tier, at most
    CODES_BITS = CODES_RAW_BITS + CODES_WIDTH,
    CODES_ENTRIES = 8,         // room of each tier in the palette
    CODES_SPLIT_OFFSET = 20,
    CODES_RESERVED_OFFSET = 25,
    CODES_PALETTE_OFFSET = 32,
    CODES_HEADER = 64,
};

// As the header holds it. All 0: the codes are stored verbatim.
typedef struct codes_split {
    uint8_t raw_bits;
    uint8_t widths[CODES_TIERS];  // bits of a symbol
} codes_split;

typedef struct codes_layout {
    codes_split split;
    size_t bits;                      // of a code in tier 1: its symbol above its raw bits
    size_t counts[CODES_TIERS + 1];   // symbols of each tier, then escapes
    size_t offsets[CODES_TIERS + 1];  // of the same, from the segment's beginning; tier 1 comes last
    size_t size;
} codes_layout;

// What encoding needs beside the layout.
typedef struct codes_plan {
    codes_layout layout;
    uint8_t symbols[CODES_TIERS][256];  // of each code; in tier 1 with its raw bits
    uint8_t bases[256];                 // of each code
} codes_plan;

// Checks everything that decode_codes promises except that the tiers need each other's counts.
bool lamina_codes_open(const uint8_t *segment, size_t size, size_t count, codes_layout *layout);

// Chooses the split and the palette that make the smallest segment of codes of these frequencies and writes all of it
// that does not depend on the order of the codes: header and zeros behind the escapes.
void lamina_codes_begin(const uint32_t frequencies[256], size_t count, codes_plan *plan, uint8_t *segment);

#endif
