// Narrow panels out of those of ROW8 (include/lamina_quantized.h). Compiled once per instruction set.
#ifndef LAMINA_NARROW_PANEL_H
#define LAMINA_NARROW_PANEL_H

#include "narrow.h"

enum {
    // What a listed code costs a product, in bytes read meanwhile: it is put in its place one by one.
    LISTED_COST = 64,
    MOST_LISTED = UINT16_MAX,
};

// Codes from here on, as many as the bits tell apart, are not listed.
LAMINA_INLINE uint8_t narrow_first_code(size_t bits) {
    return (uint8_t)(128 - (1u << (bits - 1)));
}

// Of a group: 255 for codes that are listed, 0 for the others; and these less the first code. By address, since what
// registers hold such vectors differs.
LAMINA_INLINE void find_listed(const uint8_t *codes, size_t bits, code_line *listed, code_line *rest) {
    code_line line;
    memcpy(&line, codes, sizeof line);
    line -= narrow_first_code(bits);
    *listed = (code_line)(line > (uint8_t)((1u << bits) - 1));
    *rest = line & ~*listed;
}

static size_t count_listed(const uint8_t *codes, size_t count, size_t bits) {
    enum { MOST_LINES = UINT8_MAX };
    size_t listed = 0;
    for (size_t i = 0; i < count;) {
        const size_t end = LAMINA_MIN(count, i + (size_t)MOST_LINES * NARROW_GROUP);
        code_line sums = {0};
        for (; i < end; i += NARROW_GROUP) {
            code_line lanes, rest;
            find_listed(codes + i, bits, &lanes, &rest);
            sums -= lanes;
        }
        for (size_t lane = 0; lane < NARROW_GROUP; ++lane) {
            listed += sums[lane];
        }
    }
    return listed;
}

// The bits that cost least; `listed` codes do not fit them.
static size_t choose_bits(const uint8_t *codes, size_t blocks, size_t *listed) {
    const size_t bytes = blocks * NARROW_CODES;
    const size_t header = narrow_codes_offset(blocks);
    size_t best = 8;
    size_t least = bytes;
    *listed = 0;
    for (size_t bits = NARROW_LEAST; bits <= NARROW_MOST; ++bits) {
        const size_t count = count_listed(codes, bytes, bits);
        const size_t narrow = blocks * narrow_block_bytes(bits);
        const size_t all = header + round_up(narrow + count * sizeof(uint32_t), 64);
        if (narrow + count * LISTED_COST < least && count <= MOST_LISTED && all <= NARROW_HEADER + ROW8_HEADER + bytes) {
            best = bits;
            least = narrow + count * LISTED_COST;
            *listed = count;
        }
    }
    return best;
}

// Lists what has a lane of 255, where the first code is stored, and returns where the list goes on.
static uint8_t *list_codes(const uint8_t *codes, const uint8_t *lanes, uint8_t first, uint8_t *list) {
    for (size_t i = 0; i < NARROW_CODES; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, lanes + i, sizeof word);
        for (size_t place = i; word != 0 && place < i + sizeof word; ++place) {
            if (lanes[place] != 0) {
                const uint32_t k = (uint32_t)(place / NARROW_GROUP * 4 + place % 4);
                const uint32_t row = place % NARROW_GROUP / 4;
                const uint32_t listed = k | row << 8 | (uint32_t)(codes[place] - first) << 16;
                memcpy(list, &listed, sizeof listed);
                list += sizeof listed;
            }
        }
    }
    return list;
}

static uint8_t *narrow_block(const uint8_t *codes, size_t bits, uint8_t *block, uint8_t *list) {
    uint8_t lanes[NARROW_CODES];
    code_line upper[NARROW_MOST - NARROW_LEAST] = {{0}};
    code_line low = {0};
    for (size_t group = 0; group < NARROW_GROUPS; ++group) {
        code_line listed, rest;
        find_listed(codes + group * NARROW_GROUP, bits, &listed, &rest);
        memcpy(lanes + group * NARROW_GROUP, &listed, sizeof listed);
        low = group % 2 == 0 ? rest & 15 : low | (rest & 15) << 4;
        memcpy(block + group / 2 * NARROW_GROUP, &low, sizeof low);
        for (size_t plane = 0; plane < bits - NARROW_LEAST; ++plane) {
            upper[plane] |= (rest >> (uint8_t)(NARROW_LEAST + plane) & 1) << (uint8_t)group;
        }
    }
    memcpy(block + NARROW_LEAST * NARROW_GROUP, upper, (bits - NARROW_LEAST) * NARROW_GROUP);
    return list_codes(codes, lanes, narrow_first_code(bits), list);
}

static size_t narrow_panel_from(const void *row8, size_t columns, void *narrow) {
    const uint8_t *codes = (const uint8_t *)row8 + ROW8_HEADER;
    const size_t blocks = round_up(columns, QUANTIZED_BLOCK) / QUANTIZED_BLOCK;
    uint8_t *start = narrow;
    size_t listed;
    const uint32_t bits = (uint32_t)choose_bits(codes, blocks, &listed);
    memset(start, 0, NARROW_HEADER);
    memcpy(start, &bits, sizeof bits);
    memcpy(start + NARROW_HEADER, row8, ROW8_HEADER);
    if (bits > NARROW_MOST) {
        memcpy(start + NARROW_HEADER + ROW8_HEADER, codes, blocks * NARROW_CODES);
        return NARROW_HEADER + ROW8_HEADER + blocks * NARROW_CODES;
    }
    const size_t offset = narrow_codes_offset(blocks);
    uint8_t *ends = start + NARROW_HEADER + ROW8_HEADER;
    uint8_t *list = start + offset + blocks * narrow_block_bytes(bits);
    const uint8_t *first = list;
    memset(ends, 0, offset - NARROW_HEADER - ROW8_HEADER);
    for (size_t block = 0; block < blocks; ++block) {
        list = narrow_block(codes + block * NARROW_CODES, bits, start + offset + block * narrow_block_bytes(bits), list);
        const uint16_t end = (uint16_t)((size_t)(list - first) / sizeof(uint32_t));
        memcpy(ends + block * sizeof end, &end, sizeof end);
    }
    const size_t bytes = round_up((size_t)(list - start), 64);
    memset(list, 0, bytes - (size_t)(list - start));
    return bytes;
}

#endif
