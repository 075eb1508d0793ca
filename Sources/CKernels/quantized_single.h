// Quantized panels times one column of f32, dequantized in registers: what passes through a cache on its way from
// dequantize_panel to multiply_panel is four to eight times the codes. Every row is the same chain of operations as
// there. Included after quantized_dequantize.h and panel_product.h, of which it needs the vectors.
#ifndef LAMINA_QUANTIZED_SINGLE_H
#define LAMINA_QUANTIZED_SINGLE_H

#include "panel_product.h"
#include "quantized_dequantize.h"

enum {
    SINGLE_PANELS = 4,
    SINGLE_VECTORS = QUANTIZED_ROWS / VECTOR_LANES,
};

typedef vector single_sums[SINGLE_PANELS][SINGLE_VECTORS];

// Whether all rows of the panels change their scales at the same k, and no weight is an escape.
static bool shares_blocks(lamina_scheme scheme, const lamina_quantized_panel *panels, size_t count) {
    if (scheme_has_chains(scheme)) {
        return panels->columns % QUANTIZED_BLOCK == 0;
    }
    if (scheme != LAMINA_SCHEME_ROW8) {
        return panels->columns % flat_block(scheme) == 0;
    }
    for (size_t i = 0; i < count * LAMINA_ESCAPES; ++i) {
        if (row8_escape_at(&panels[i / LAMINA_ESCAPES], i % LAMINA_ESCAPES).exists) {
            return false;
        }
    }
    return panels->columns % QUANTIZED_BLOCK == 0;
}

// One group of k that share words, of all panels; codes: of each panel.
LAMINA_INLINE void add_single_group(lamina_scheme scheme, size_t panels, const code_tables *tables,
                                    const uint8_t *const codes[SINGLE_PANELS],
                                    const row_scales scales[SINGLE_PANELS], size_t offset, const float *x,
                                    single_sums sums) {
    const size_t count = scheme_has_nibbles(scheme) ? 8 : 4;
    LAMINA_UNROLL
    for (size_t panel = 0; panel < panels; ++panel) {
        LAMINA_UNROLL
        for (size_t v = 0; v < SINGLE_VECTORS; ++v) {
            vector values[8];
            code_values(scheme, tables, codes[panel] + offset + 4 * v * VECTOR_LANES, values);
            const vector scale = vector_load(scales[panel].values.lane + v * VECTOR_LANES);
            LAMINA_UNROLL
            for (size_t k = 0; k < count; ++k) {
                sums[panel][v] = vector_fma(vector_mul(values[k], scale), vector_set(x[k]), sums[panel][v]);
            }
        }
    }
}

// k_begin..<k_end of one chain, of all panels.
LAMINA_INLINE void add_single_chain(lamina_scheme scheme, size_t panels, const code_tables *tables,
                                    const lamina_quantized_panel *panel, size_t k_begin, size_t k_end, const float *x,
                                    single_sums sums) {
    const size_t group = scheme_has_nibbles(scheme) ? 8 : 4;
    for (size_t k = k_begin; k < k_end;) {
        const uint8_t *codes[SINGLE_PANELS];
        row_scales scales[SINGLE_PANELS];
        for (size_t i = 0; i < panels; ++i) {
            codes[i] = codes_at(scheme, &panel[i], k);
            scales[i] = scales_at(scheme, &panel[i], k);
        }
        const size_t count = LAMINA_MIN(k_end, scales[0].change) - k;
        for (size_t i = 0; i < count; i += group) {
            add_single_group(scheme, panels, tables, codes, scales, i / group * 64, x + k + i, sums);
        }
        k += count;
    }
}

LAMINA_INLINE void multiply_single(lamina_scheme scheme, size_t panels, const lamina_quantized_panel *panel,
                                   const float *x, float *y) {
    const nibble_values nibbles = nibble_values_of(scheme);
    const code_tables tables = code_tables_load(scheme, &nibbles);
    const size_t columns = panel->columns;
    for (size_t k = 0; k < columns; k += LAMINA_CHAIN_LENGTH) {
        single_sums sums;
        for (size_t i = 0; i < panels * SINGLE_VECTORS; ++i) {
            sums[i / SINGLE_VECTORS][i % SINGLE_VECTORS] = vector_set(0);
        }
        add_single_chain(scheme, panels, &tables, panel, k, LAMINA_MIN(columns, k + LAMINA_CHAIN_LENGTH), x, sums);
        for (size_t i = 0; i < panels * SINGLE_VECTORS; ++i) {
            const size_t row = i % SINGLE_VECTORS * VECTOR_LANES;
            const size_t rows = panel[i / SINGLE_VECTORS].rows;
            finish_chain(sums[i / SINGLE_VECTORS][i % SINGLE_VECTORS], y + i / SINGLE_VECTORS * QUANTIZED_ROWS + row,
                         rows > row ? rows - row : 0, k == 0);
        }
    }
}

LAMINA_INLINE bool multiply_dequantized(lamina_scheme scheme, const lamina_quantized_panel *panels, size_t count,
                                        const float *x, float *y) {
    if (!shares_blocks(scheme, panels, count)) {
        return false;
    }
    switch (count) {
    case 1: multiply_single(scheme, 1, panels, x, y); break;
    case 2: multiply_single(scheme, 2, panels, x, y); break;
    case 3: multiply_single(scheme, 3, panels, x, y); break;
    default: multiply_single(scheme, SINGLE_PANELS, panels, x, y); break;
    }
    return true;
}

#define MULTIPLY_DEQUANTIZED(name, scheme)                                                                     \
    static bool multiply_dequantized_##name(const lamina_quantized_panel *panels, size_t count, const float *x, \
                                            float *y) {                                                        \
        return multiply_dequantized(scheme, panels, count, x, y);                                              \
    }

MULTIPLY_DEQUANTIZED(row8, LAMINA_SCHEME_ROW8)
MULTIPLY_DEQUANTIZED(q8, LAMINA_SCHEME_Q8)
MULTIPLY_DEQUANTIZED(q4, LAMINA_SCHEME_Q4)
MULTIPLY_DEQUANTIZED(nf4, LAMINA_SCHEME_NF4)
MULTIPLY_DEQUANTIZED(nf4_double, LAMINA_SCHEME_NF4_DOUBLE)
MULTIPLY_DEQUANTIZED(int8_dynamic, LAMINA_SCHEME_INT8_DYNAMIC)

#endif
