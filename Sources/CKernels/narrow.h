// Where the parts of a narrow panel are (include/lamina_quantized.h), and its codes as bytes again. Compiled once per
// instruction set.
#ifndef LAMINA_NARROW_H
#define LAMINA_NARROW_H

#include "quantized_layout.h"

enum {
    NARROW_LEAST = 4,
    // Bits of codes that are narrow; 8 are as they were. With 7 memory is read no faster than bytes are multiplied.
    NARROW_MOST = 6,
    // 16 rows by 4 k, as they lie in a panel of ROW8; a block has 8 groups.
    NARROW_GROUP = QUANTIZED_ROWS * 4,
    NARROW_CODES = QUANTIZED_ROWS * QUANTIZED_BLOCK,
    NARROW_GROUPS = NARROW_CODES / NARROW_GROUP,
};

typedef struct narrow_panel {
    size_t bits;
    const uint8_t *row8;   // steps and escapes; of 8 bits the codes, too
    const uint8_t *ends;   // uint16 for each block
    const uint8_t *codes;
    const uint8_t *listed; // uint32 for each code that is listed
} narrow_panel;

LAMINA_INLINE size_t narrow_block_bytes(size_t bits) {
    return bits * NARROW_GROUP;
}

LAMINA_INLINE size_t narrow_codes_offset(size_t blocks) {
    return NARROW_HEADER + ROW8_HEADER + round_up(blocks * sizeof(uint16_t), 64);
}

LAMINA_INLINE narrow_panel narrow_panel_at(const void *bytes, size_t columns) {
    const uint8_t *start = bytes;
    const size_t blocks = round_up(columns, QUANTIZED_BLOCK) / QUANTIZED_BLOCK;
    uint32_t bits;
    memcpy(&bits, start, sizeof bits);
    const uint8_t *codes = start + narrow_codes_offset(blocks);
    return (narrow_panel){
        .bits = bits,
        .row8 = start + NARROW_HEADER,
        .ends = start + NARROW_HEADER + ROW8_HEADER,
        .codes = codes,
        .listed = codes + blocks * narrow_block_bytes(bits),
    };
}

// How many codes are listed of the blocks before `block`.
LAMINA_INLINE size_t narrow_listed_before(const narrow_panel *panel, size_t block) {
    uint16_t end = 0;
    if (block > 0) {
        memcpy(&end, panel->ends + (block - 1) * sizeof end, sizeof end);
    }
    return end;
}

// A code that does not fit: row and k of the block, and how much more it is than what is stored for it.
typedef struct narrow_listed {
    size_t k;
    size_t row;
    int32_t more;
} narrow_listed;

LAMINA_INLINE narrow_listed narrow_listed_at(const narrow_panel *panel, size_t index) {
    uint32_t bits;
    memcpy(&bits, panel->listed + index * sizeof bits, sizeof bits);
    return (narrow_listed){bits % QUANTIZED_BLOCK, bits >> 8 & 15, (int32_t)bits >> 16};
}

// 64 bytes, in as many registers as that takes.
typedef uint8_t code_line __attribute__((vector_size(NARROW_GROUP)));

LAMINA_INLINE void restore_groups(size_t planes, const uint8_t *restrict block, uint8_t *restrict codes) {
    code_line upper[NARROW_MOST - NARROW_LEAST];
    LAMINA_UNROLL
    for (size_t plane = 0; plane < planes; ++plane) {
        memcpy(&upper[plane], block + (NARROW_LEAST + plane) * NARROW_GROUP, sizeof *upper);
    }
    LAMINA_UNROLL
    for (size_t group = 0; group < NARROW_GROUPS; ++group) {
        code_line both;
        memcpy(&both, block + group / 2 * NARROW_GROUP, sizeof both);
        code_line code = group % 2 == 0 ? both & 15 : both >> 4;
        LAMINA_UNROLL
        for (size_t plane = 0; plane < planes; ++plane) {
            code |= (upper[plane] >> (uint8_t)group & 1) << (uint8_t)(NARROW_LEAST + plane);
        }
        code += (uint8_t)(128 - (8 << planes));
        memcpy(codes + group * NARROW_GROUP, &code, sizeof code);
    }
}

// The codes of a block as they lie in a panel of ROW8.
LAMINA_INLINE void restore_block(size_t planes, const narrow_panel *panel, size_t block, uint8_t *codes) {
    restore_groups(planes, panel->codes + block * narrow_block_bytes(NARROW_LEAST + planes), codes);
    const size_t end = narrow_listed_before(panel, block + 1);
    LAMINA_NO_VECTORS
    for (size_t i = narrow_listed_before(panel, block); i < end; ++i) {
        const narrow_listed listed = narrow_listed_at(panel, i);
        uint8_t *code = &codes[listed.k / 4 * NARROW_GROUP + 4 * listed.row + listed.k % 4];
        *code = (uint8_t)(*code + listed.more);
    }
}

LAMINA_INLINE void restore_planes(size_t planes, const narrow_panel *panel, size_t block, size_t count,
                                  uint8_t *codes) {
    for (size_t i = 0; i < count; ++i) {
        restore_block(planes, panel, block + i, codes + i * NARROW_CODES);
    }
}

// Blocks block..<block + count of a panel whose codes are narrow.
static void restore_blocks(const narrow_panel *panel, size_t block, size_t count, uint8_t *codes) {
    switch (panel->bits) {
    case 4: restore_planes(0, panel, block, count, codes); break;
    case 5: restore_planes(1, panel, block, count, codes); break;
    default: restore_planes(2, panel, block, count, codes); break;
    }
}

static void restore_panel(const void *narrow, size_t columns, void *bytes) {
    const narrow_panel panel = narrow_panel_at(narrow, columns);
    const size_t blocks = round_up(columns, QUANTIZED_BLOCK) / QUANTIZED_BLOCK;
    uint8_t *codes = (uint8_t *)bytes + ROW8_HEADER;
    memcpy(bytes, panel.row8, ROW8_HEADER);
    if (panel.bits <= NARROW_MOST) {
        restore_blocks(&panel, 0, blocks, codes);
    } else {
        memcpy(codes, panel.row8 + ROW8_HEADER, blocks * NARROW_CODES);
    }
}

#endif
