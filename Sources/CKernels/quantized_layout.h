// Where the parts of a quantized panel are (include/lamina_quantized.h).
#ifndef LAMINA_QUANTIZED_LAYOUT_H
#define LAMINA_QUANTIZED_LAYOUT_H

#include "internal.h"

enum {
    QUANTIZED_ROWS = LAMINA_QUANTIZED_ROWS,
    QUANTIZED_BLOCK = LAMINA_QUANTIZED_BLOCK,
    CHAIN_BLOCKS = LAMINA_CHAIN_LENGTH / LAMINA_QUANTIZED_BLOCK,
    // Of a panel of ROW8: steps, escapes; then come the codes.
    ROW8_ESCAPES = QUANTIZED_ROWS * 2,
    ROW8_HEADER = ROW8_ESCAPES + LAMINA_ESCAPES * 8,
    // Of a narrow panel: bits; then what a panel of ROW8 begins with.
    NARROW_HEADER = 64,
    NF4_BLOCK = 64,
    DYNAMIC_BLOCK = 2048,
};

LAMINA_INLINE size_t round_up(size_t count, size_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

LAMINA_INLINE bool scheme_has_nibbles(lamina_scheme scheme) {
    return scheme == LAMINA_SCHEME_Q4 || scheme == LAMINA_SCHEME_NF4 || scheme == LAMINA_SCHEME_NF4_DOUBLE;
}

LAMINA_INLINE bool scheme_has_chains(lamina_scheme scheme) {
    return scheme == LAMINA_SCHEME_Q8 || scheme == LAMINA_SCHEME_Q4;
}

// Bytes of the codes of `k_count` padded k.
LAMINA_INLINE size_t code_bytes(lamina_scheme scheme, size_t k_count) {
    return k_count * (scheme_has_nibbles(scheme) ? QUANTIZED_ROWS / 2 : QUANTIZED_ROWS);
}

// The step of a row of a panel of ROW8.
LAMINA_INLINE float row8_step(const lamina_quantized_panel *panel, size_t row) {
    uint16_t step;
    memcpy(&step, (const uint8_t *)panel->bytes + row * sizeof step, sizeof step);
    return lamina_float_from_bf16(step);
}

// An escape of a panel of ROW8; `exists` is false for the rest of the list, and for what points outside the panel.
typedef struct row8_escape {
    bool exists;
    size_t k;
    size_t row;
    int32_t code;
} row8_escape;

LAMINA_INLINE row8_escape row8_escape_at(const lamina_quantized_panel *panel, size_t index) {
    uint64_t bits;
    memcpy(&bits, (const uint8_t *)panel->bytes + ROW8_ESCAPES + index * sizeof bits, sizeof bits);
    const size_t k = (size_t)(bits >> 24);
    const size_t row = bits >> 16 & 255;
    return (row8_escape){k < panel->columns && row < QUANTIZED_ROWS, k, row, (int16_t)(bits & 0xffff)};
}

// Weights of the flattened tensor that share a scale.
LAMINA_INLINE size_t flat_block(lamina_scheme scheme) {
    return scheme == LAMINA_SCHEME_INT8_DYNAMIC ? DYNAMIC_BLOCK : NF4_BLOCK;
}

LAMINA_INLINE size_t flat_entries(lamina_scheme scheme, size_t columns) {
    const size_t block = flat_block(scheme);
    return columns % block == 0 ? columns / block : (columns - 1) / block + 2;
}

// Where the codes of a panel of NF4, NF4_DOUBLE or INT8_DYNAMIC begin, behind its scales.
LAMINA_INLINE size_t flat_codes_offset(lamina_scheme scheme, size_t columns) {
    const size_t scales = flat_entries(scheme, columns) * QUANTIZED_ROWS;
    switch (scheme) {
    case LAMINA_SCHEME_NF4: return round_up(scales * sizeof(uint16_t), 64);
    case LAMINA_SCHEME_NF4_DOUBLE: return QUANTIZED_ROWS * sizeof(float) + round_up(scales, 64);
    default: return scales * sizeof(float);
    }
}

// The parts of one chain of a panel of Q8 or Q4 of `k_count` padded k: its 16 supers, then `scales`, then `codes`.
typedef struct quantized_chain_layout {
    size_t scales;
    size_t codes;
    size_t bytes;
} quantized_chain_layout;

LAMINA_INLINE quantized_chain_layout chain_layout(lamina_scheme scheme, size_t k_count) {
    const size_t scales = QUANTIZED_ROWS * sizeof(float);
    const size_t codes = scales + round_up(k_count / QUANTIZED_BLOCK * QUANTIZED_ROWS, 64);
    return (quantized_chain_layout){scales, codes, codes + code_bytes(scheme, k_count)};
}

// The chain of Q8 or Q4 that k lies in: `bytes` from the beginning of the panel, its first k, and its padded k.
typedef struct quantized_chain_place {
    size_t offset;
    size_t k;
    size_t k_count;
} quantized_chain_place;

LAMINA_INLINE quantized_chain_place chain_place(lamina_scheme scheme, size_t columns, size_t k) {
    const size_t chain = k / LAMINA_CHAIN_LENGTH;
    const size_t first = chain * LAMINA_CHAIN_LENGTH;
    const size_t padded = round_up(columns, QUANTIZED_BLOCK);
    return (quantized_chain_place){
        .offset = chain * chain_layout(scheme, LAMINA_CHAIN_LENGTH).bytes,
        .k = first,
        .k_count = LAMINA_MIN(padded - first, (size_t)LAMINA_CHAIN_LENGTH),
    };
}

#endif
