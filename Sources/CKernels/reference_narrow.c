// The reference's narrow panels (include/lamina_quantized.h): every code by its definition, one at a time.
#include "strict_floats.h"

#include "quantized_layout.h"
#include "reference.h"

#include <stdlib.h>

enum {
    HEADER = 64,
    CODES = QUANTIZED_ROWS * QUANTIZED_BLOCK,
    LISTED_COST = 64,  // bytes a listed code counts for when bits are chosen
};

static size_t block_count(size_t columns) {
    return round_up(columns, QUANTIZED_BLOCK) / QUANTIZED_BLOCK;
}

static size_t codes_offset(size_t blocks) {
    return HEADER + ROW8_HEADER + round_up(blocks * 2, 64);
}

static int fits(uint8_t code, size_t bits) {
    const int rest = code - (128 - (1 << (bits - 1)));
    return rest >= 0 && rest < 1 << bits;
}

static size_t count_listed(const uint8_t *codes, size_t count, size_t bits) {
    size_t listed = 0;
    for (size_t i = 0; i < count; ++i) {
        listed += !fits(codes[i], bits);
    }
    return listed;
}

// Bytes of a panel with codes of so many bits.
static size_t bytes_with(size_t bits, size_t blocks, size_t listed) {
    return bits == 8 ? HEADER + ROW8_HEADER + blocks * CODES
                     : codes_offset(blocks) + round_up(blocks * 64 * bits + listed * 4, 64);
}

static size_t choose_bits(const uint8_t *codes, size_t blocks) {
    size_t best = 8;
    size_t least = blocks * CODES;
    for (size_t bits = 4; bits <= 6; ++bits) {
        const size_t listed = count_listed(codes, blocks * CODES, bits);
        const size_t cost = blocks * 64 * bits + listed * LISTED_COST;
        if (cost < least && listed <= 65535 && bytes_with(bits, blocks, listed) <= bytes_with(8, blocks, 0)) {
            best = bits;
            least = cost;
        }
    }
    return best;
}

// Where bit `bit` of byte `place` of a block is: a byte of the block and its bit.
static size_t byte_of(size_t place, size_t bit) {
    const size_t group = place / 64;
    return bit < 4 ? group / 2 * 64 + place % 64 : bit * 64 + place % 64;
}

static size_t shift_of(size_t place, size_t bit) {
    const size_t group = place / 64;
    return bit < 4 ? group % 2 * 4 + bit : group;
}

size_t lamina_reference_narrow_panel(const void *row8, size_t columns, void *narrow) {
    const uint8_t *codes = (const uint8_t *)row8 + ROW8_HEADER;
    const size_t blocks = block_count(columns);
    const size_t bits = choose_bits(codes, blocks);
    const size_t bytes = bytes_with(bits, blocks, bits == 8 ? 0 : count_listed(codes, blocks * CODES, bits));
    uint8_t *out = narrow;
    memset(out, 0, bytes);
    out[0] = (uint8_t)bits;
    memcpy(out + HEADER, row8, ROW8_HEADER);
    if (bits == 8) {
        memcpy(out + HEADER + ROW8_HEADER, codes, blocks * CODES);
        return bytes;
    }
    uint32_t listed = 0;
    for (size_t block = 0; block < blocks; ++block) {
        uint8_t *stored = out + codes_offset(blocks) + block * 64 * bits;
        for (size_t place = 0; place < CODES; ++place) {
            const uint8_t code = codes[block * CODES + place];
            if (!fits(code, bits)) {
                const size_t k = place / 64 * 4 + place % 4;
                const int more = code - (128 - (1 << (bits - 1)));
                const uint32_t entry = (uint32_t)(k | place % 64 / 4 << 8) | (uint32_t)more << 16;
                memcpy(out + codes_offset(blocks) + blocks * 64 * bits + 4 * listed++, &entry, sizeof entry);
                continue;
            }
            const size_t rest = code - (128u - (1u << (bits - 1)));
            for (size_t bit = 0; bit < bits; ++bit) {
                stored[byte_of(place, bit)] |= (uint8_t)((rest >> bit & 1) << shift_of(place, bit));
            }
        }
        const uint16_t end = (uint16_t)listed;
        memcpy(out + HEADER + ROW8_HEADER + 2 * block, &end, sizeof end);
    }
    return bytes;
}

static uint8_t stored_code(const uint8_t *stored, size_t bits, size_t place) {
    size_t rest = 0;
    for (size_t bit = 0; bit < bits; ++bit) {
        rest |= (size_t)(stored[byte_of(place, bit)] >> shift_of(place, bit) & 1) << bit;
    }
    return (uint8_t)(rest + 128 - (1u << (bits - 1)));
}

void lamina_reference_restore_panel(const void *narrow, size_t columns, void *row8) {
    const uint8_t *source = narrow;
    uint8_t *codes = (uint8_t *)row8 + ROW8_HEADER;
    const size_t blocks = block_count(columns);
    const size_t bits = source[0];
    memcpy(row8, source + HEADER, ROW8_HEADER);
    if (bits == 8) {
        memcpy(codes, source + HEADER + ROW8_HEADER, blocks * CODES);
        return;
    }
    const uint8_t *stored = source + codes_offset(blocks);
    const uint8_t *list = stored + blocks * 64 * bits;
    size_t next = 0;
    for (size_t block = 0; block < blocks; ++block) {
        for (size_t place = 0; place < CODES; ++place) {
            codes[block * CODES + place] = stored_code(stored + block * 64 * bits, bits, place);
        }
        uint16_t end;
        memcpy(&end, source + HEADER + ROW8_HEADER + 2 * block, sizeof end);
        for (; next < end; ++next) {
            uint32_t entry;
            memcpy(&entry, list + 4 * next, sizeof entry);
            const size_t k = entry & 31;
            const size_t place = k / 4 * 64 + 4 * (entry >> 8 & 15) + k % 4;
            codes[block * CODES + place] = (uint8_t)(128 - (1 << (bits - 1)) + ((int32_t)entry >> 16));
        }
    }
}

void lamina_reference_multiply_narrow(const lamina_quantized_task *task) {
    for (size_t i = 0; i < task->panel_count; ++i) {
        lamina_quantized_panel panel = task->panels[i];
        void *row8 = malloc(lamina_quantized_panel_bytes(LAMINA_SCHEME_ROW8, panel.columns));
        if (row8 == NULL) {
            abort();  // The reference is for tests only.
        }
        lamina_reference_restore_panel(panel.bytes, panel.columns, row8);
        panel.bytes = row8;
        lamina_quantized_task alone = *task;
        alone.panels = &panel;
        alone.panel_count = 1;
        alone.y = task->y + i * QUANTIZED_ROWS;
        lamina_reference_multiply_quantized_row8(&alone);
        free(row8);
    }
}
