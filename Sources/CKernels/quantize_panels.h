// Schemes whose codes need no search: ROW8, NF4, NF4_DOUBLE and INT8_DYNAMIC. Rows are coded along their columns, 64 at a
// time, and the codes' words, 4 columns each, are transposed into the panel.
// Needs transpose_block (panel_layout.h).
#ifndef LAMINA_QUANTIZE_PANELS_H
#define LAMINA_QUANTIZE_PANELS_H

#include "quantize_rows.h"

enum { CODED_COLUMNS = 64 };

typedef struct code_tile {
    uint8_t codes[QUANTIZED_ROWS][CODED_COLUMNS];
} code_tile;

// ---- tiles into panels ------------------------------------------------------------------------------------------------

// Whole words of `count` k, 32 or 64.
LAMINA_INLINE void store_code_bytes(const code_tile *tile, size_t count, uint8_t *codes) {
    if (count == CODED_COLUMNS) {
        transpose_block(tile->codes[0], CODED_COLUMNS, codes, 64);
        return;
    }
    uint8_t words[16 * 64];
    transpose_block(tile->codes[0], CODED_COLUMNS, words, 64);
    memcpy(codes, words, count * QUANTIZED_ROWS);
}

LAMINA_INLINE void store_code_nibbles(const code_tile *tile, size_t count, uint8_t *codes) {
    uint8_t words[16][64];
    transpose_block(tile->codes[0], CODED_COLUMNS, words[0], 64);
    for (size_t pair = 0; pair < count / 8; ++pair) {
        for (size_t i = 0; i < 64; ++i) {
            codes[pair * 64 + i] = (uint8_t)(words[2 * pair][i] | words[2 * pair + 1][i] << 4);
        }
    }
}

// ---- codes of a row ---------------------------------------------------------------------------------------------------

typedef enum coding {
    CODING_ROW8,
    CODING_NF4,
    CODING_NF4_LAST,  // the flattened tensor's last block, where bitsandbytes divides and does not multiply
    CODING_DYNAMIC,
} coding;

// What a span of one scale is coded with: the step, or the block's largest magnitude (or 1 over it).
typedef struct coder {
    float factor;
    const float *middles;      // NF4: the 15 between neighbouring values
    const uint8_t *levels;     // INT8_DYNAMIC: lamina_fill_dynamic_codes
} coder;

LAMINA_INLINE bytes16 nf4_codes(floats16 scaled, const float *middles) {
    words16 codes = {0};
    LAMINA_UNROLL
    for (size_t i = 0; i < 15; ++i) {
        codes -= scaled > middles[i];
    }
    return __builtin_convertvector(codes, bytes16);
}

// fma as bitsandbytes' builds have it; a NaN (0 times infinity) is level 0.
LAMINA_INLINE bytes16 dynamic_codes(floats16 scaled, const uint8_t *levels) {
    const floats16 unit = (floats16_clamp(scaled, -1, 1) + 1.0f) * 0.5f;
    float level[16];
    floats16_store(level, unit);
    bytes16 codes;
    for (size_t i = 0; i < 16; ++i) {
        level[i] = fmaf(level[i], DYNAMIC_LEVELS - 1, 0.5f);
    }
    for (size_t i = 0; i < 16; ++i) {
        codes[i] = levels[(uint16_t)(int32_t)level[i]];
    }
    return codes;
}

LAMINA_INLINE bytes16 codes_of(coding kind, const floats16 *weights, const coder *coder) {
    switch (kind) {
    case CODING_ROW8: {
        const words16 codes = words16_round(floats16_clamp(*weights / coder->factor, -LARGEST_CODE, LARGEST_CODE));
        return __builtin_convertvector(codes + 128, bytes16);
    }
    case CODING_NF4: return nf4_codes(*weights * coder->factor, coder->middles);
    case CODING_NF4_LAST: return nf4_codes(*weights / coder->factor, coder->middles);
    default: return dynamic_codes(*weights * coder->factor, coder->levels);
    }
}

LAMINA_INLINE void code_span(coding kind, const float *weights, size_t count, const coder *coder, uint8_t *codes) {
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const floats16 lanes = floats16_load(weights + i);
        const bytes16 part = codes_of(kind, &lanes, coder);
        memcpy(codes + i, &part, sizeof part);
    }
    if (i < count) {
        const floats16 lanes = floats16_load_part(weights + i, count - i);
        const bytes16 part = codes_of(kind, &lanes, coder);
        memcpy(codes + i, &part, count - i);
    }
}

// ---- ROW8 -------------------------------------------------------------------------------------------------------------

static void quantize_panel_row8(const lamina_quantize_source *source, void *panel) {
    uint8_t *bytes = panel;
    uint8_t *codes = bytes + ROW8_HEADER;
    float largest[QUANTIZED_ROWS];
    for (size_t row = 0; row < source->rows; ++row) {
        largest[row] = span_magnitude(source->weights + row * source->stride, source->columns);
    }
    lamina_row8_plan plan;
    lamina_plan_row8(source, largest, &plan);
    memcpy(bytes, plan.steps, sizeof plan.steps);
    memcpy(bytes + ROW8_ESCAPES, plan.escapes, sizeof plan.escapes);
    for (size_t k = 0; k < source->columns; k += CODED_COLUMNS) {
        const size_t count = LAMINA_MIN(source->columns - k, (size_t)CODED_COLUMNS);
        code_tile tile;
        memset(&tile, 128, sizeof tile);
        for (size_t row = 0; row < source->rows; ++row) {
            const float step = lamina_float_from_bf16(plan.steps[row]);
            const coder coder = {.factor = step > 0 ? step : 1};
            code_span(CODING_ROW8, source->weights + row * source->stride + k, count, &coder, tile.codes[row]);
        }
        store_code_bytes(&tile, round_up(count, QUANTIZED_BLOCK), codes + k * QUANTIZED_ROWS);
    }
    for (size_t i = 0; i < LAMINA_ESCAPES && plan.escapes[i] != LAMINA_NO_ESCAPE; ++i) {
        const size_t k = (size_t)(plan.escapes[i] >> 24);
        codes[k / 4 * 64 + (plan.escapes[i] >> 16 & 15) * 4 + k % 4] = 0;
    }
}

// ---- blocks of the flattened matrix --------------------------------------------------------------------------------------

// The coding of a block, which depends on its largest magnitude.
LAMINA_INLINE void code_flat_span(lamina_scheme scheme, const float *weights, size_t count, float maximum, bool is_last,
                                  coder *coder, uint8_t *codes) {
    if (scheme == LAMINA_SCHEME_INT8_DYNAMIC) {
        if (maximum == 0) {
            memset(codes, 0, count);  // as bitsandbytes does: its value, too, is 0
            return;
        }
        coder->factor = 1.0f / maximum;
        code_span(CODING_DYNAMIC, weights, count, coder, codes);
        return;
    }
    const float divisor = maximum > 1e-38f ? maximum : 1e-38f;
    coder->factor = is_last ? divisor : 1.0f / divisor;
    if (is_last) {
        code_span(CODING_NF4_LAST, weights, count, coder, codes);
    } else {
        code_span(CODING_NF4, weights, count, coder, codes);
    }
}

// k..<k + count of a row.
LAMINA_INLINE void code_flat_row(lamina_scheme scheme, const lamina_quantize_source *source, size_t row, size_t k,
                                 size_t count, coder *coder, uint8_t *codes) {
    const size_t block = flat_block(scheme);
    const size_t total = source->matrix_rows * source->columns;
    const float *weights = source->weights + row * source->stride + k;
    const size_t first = source->row * source->columns / block;
    size_t position = (source->row + row) * source->columns + k;
    while (count > 0) {
        const size_t piece = LAMINA_MIN(count, block - position % block);
        const bool is_last = position / block == total / block;
        code_flat_span(scheme, weights, piece, source->maxima[position / block - first], is_last, coder, codes);
        weights += piece;
        codes += piece;
        position += piece;
        count -= piece;
    }
}

LAMINA_INLINE void quantize_panel_flat(lamina_scheme scheme, const lamina_quantize_source *source, void *panel,
                                       coder coder, uint8_t padding) {
    lamina_store_flat_scales(scheme, source, panel);
    uint8_t *codes = (uint8_t *)panel + flat_codes_offset(scheme, source->columns);
    for (size_t k = 0; k < source->columns; k += CODED_COLUMNS) {
        const size_t count = LAMINA_MIN(source->columns - k, (size_t)CODED_COLUMNS);
        const size_t stored = round_up(count, QUANTIZED_BLOCK);
        code_tile tile;
        memset(&tile, padding, sizeof tile);
        for (size_t row = 0; row < source->rows; ++row) {
            code_flat_row(scheme, source, row, k, count, &coder, tile.codes[row]);
        }
        if (scheme == LAMINA_SCHEME_INT8_DYNAMIC) {
            store_code_bytes(&tile, stored, codes + code_bytes(scheme, k));
        } else {
            store_code_nibbles(&tile, stored, codes + code_bytes(scheme, k));
        }
    }
}

enum {
    NF4_ZERO = 7,
    DYNAMIC_ZERO = 127,
};

LAMINA_INLINE void quantize_panel_nibbles(lamina_scheme scheme, const lamina_quantize_source *source, void *panel) {
    float middles[15];
    for (size_t i = 0; i < 15; ++i) {
        middles[i] = (lamina_nf4_values[i] + lamina_nf4_values[i + 1]) * 0.5f;
    }
    quantize_panel_flat(scheme, source, panel, (coder){.middles = middles}, NF4_ZERO);
}

static void quantize_panel_nf4(const lamina_quantize_source *source, void *panel) {
    quantize_panel_nibbles(LAMINA_SCHEME_NF4, source, panel);
}

static void quantize_panel_nf4_double(const lamina_quantize_source *source, void *panel) {
    quantize_panel_nibbles(LAMINA_SCHEME_NF4_DOUBLE, source, panel);
}

static void quantize_panel_int8_dynamic(const lamina_quantize_source *source, void *panel) {
    uint8_t levels[DYNAMIC_LEVELS];
    lamina_fill_dynamic_codes(levels);
    quantize_panel_flat(LAMINA_SCHEME_INT8_DYNAMIC, source, panel, (coder){.levels = levels}, DYNAMIC_ZERO);
}

#endif
