// Quantized panels times int8 activations (lamina_quantized_task). Compiled once per instruction set, after the vectors
// of panel_product.h, vector_mul, vector_load_bf16, vector_load_i8 and these:
//   PRODUCT_COLUMNS                 a macro: most columns in a tile, 3, 6 or 12
//   PRODUCT_VECTORS                 vectors of rows in a tile, which divide a panel's 16 rows
//   PRODUCT_SINGLE_VECTORS          the same for one column
//   product_codes                   VECTOR_LANES rows by 4 k of weight codes
//   product_integers                VECTOR_LANES integer sums
//   product_codebook, product_codebook_load()
//   product_load_bytes(bytes)       codes stored with 128 added
//   product_load_nibbles(codebook, bytes, codes)   codes of 4 bits, two groups of 4 k
//   product_start(correction)       where the sums of a block begin
//   product_add(sums, codes, x)     adds the products with 4 activation codes
//   product_floats(sums)
// Integer sums are exact, so tiles only choose what runs side by side.
#ifndef LAMINA_QUANTIZED_PRODUCT_H
#define LAMINA_QUANTIZED_PRODUCT_H

#include "quantized_layout.h"

enum {
    // Columns whose sums stay in the cache while all chains add to them; the weights come from there as often.
    GROUP_COLUMNS = 4 * PRODUCT_COLUMNS,
    TASK_PANELS = 4,
    TASK_ROWS = TASK_PANELS * QUANTIZED_ROWS,
    PRODUCT_MOST_VECTORS = PRODUCT_VECTORS > PRODUCT_SINGLE_VECTORS ? PRODUCT_VECTORS : PRODUCT_SINGLE_VECTORS,
};

// What belongs to the blocks of one chain of a tile's columns, side by side. Their codes are read where they are.
typedef struct gathered_blocks {
    float scales[PRODUCT_COLUMNS][CHAIN_BLOCKS];
    int32_t corrections[PRODUCT_COLUMNS][CHAIN_BLOCKS];
} gathered_blocks;

// One chain of a panel.
typedef struct product_chain {
    const lamina_quantized_panel *panel;
    size_t k;
    size_t blocks;
    const uint8_t *codes;
    const int8_t *scales;  // Q8 and Q4: [blocks][16]
    const float *supers;   // Q8 and Q4
} product_chain;

LAMINA_INLINE product_chain product_chain_at(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k) {
    const uint8_t *bytes = panel->bytes;
    const quantized_chain_place place = chain_place(scheme, panel->columns, k);
    product_chain chain = {.panel = panel, .k = k, .blocks = place.k_count / QUANTIZED_BLOCK};
    if (!scheme_has_chains(scheme)) {
        chain.codes = bytes + ROW8_HEADER + code_bytes(scheme, k);
        return chain;
    }
    const quantized_chain_layout layout = chain_layout(scheme, place.k_count);
    bytes += place.offset;
    chain.supers = (const float *)(const void *)bytes;
    chain.scales = (const int8_t *)bytes + layout.scales;
    chain.codes = bytes + layout.codes;
    return chain;
}

typedef product_integers product_block_sums[PRODUCT_COLUMNS][PRODUCT_MOST_VECTORS];
typedef vector product_sums[PRODUCT_COLUMNS][PRODUCT_MOST_VECTORS];

LAMINA_INLINE void add_group(size_t columns, size_t vectors, const product_codes *codes, const int8_t *x,
                             size_t x_stride, product_block_sums sums) {
    // From one of these and the stride an address takes no third register.
    const int8_t *const rows[] = {x, columns > 3 ? x + 3 * x_stride : x, columns > 6 ? x + 6 * x_stride : x,
                                  columns > 9 ? x + 9 * x_stride : x};
    LAMINA_UNROLL
    for (size_t c = 0; c < columns; ++c) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            sums[c][v] = product_add(sums[c][v], codes[v], rows[c / 3] + c % 3 * x_stride);
        }
    }
}

// `codes` points at the first row of the tile.
LAMINA_INLINE void add_block(lamina_scheme scheme, size_t columns, size_t vectors, product_codebook codebook,
                             const uint8_t *codes, const int8_t *x, size_t x_stride, product_block_sums sums) {
    if (scheme == LAMINA_SCHEME_Q4) {
        LAMINA_UNROLL
        for (size_t k = 0; k < QUANTIZED_BLOCK; k += 8) {
            product_codes groups[2][PRODUCT_MOST_VECTORS];
            LAMINA_UNROLL
            for (size_t v = 0; v < vectors; ++v) {
                product_codes both[2];
                product_load_nibbles(codebook, codes + k * 8 + v * 4 * VECTOR_LANES, both);
                groups[0][v] = both[0];
                groups[1][v] = both[1];
            }
            add_group(columns, vectors, groups[0], x + k, x_stride, sums);
            add_group(columns, vectors, groups[1], x + k + 4, x_stride, sums);
        }
        return;
    }
    LAMINA_UNROLL
    for (size_t k = 0; k < QUANTIZED_BLOCK; k += 4) {
        product_codes group[PRODUCT_MOST_VECTORS];
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            group[v] = product_load_bytes(codes + k * 16 + v * 4 * VECTOR_LANES);
        }
        add_group(columns, vectors, group, x + k, x_stride, sums);
    }
}

// sum = fma(integers, scale * activation scale, sum) for all of the tile; ROW8 has no scale.
LAMINA_INLINE void finish_block(lamina_scheme scheme, size_t columns, size_t vectors, const int8_t *scales,
                                const float *x_scales, size_t x_stride, product_block_sums integers,
                                product_sums sums) {
    LAMINA_UNROLL
    for (size_t v = 0; v < vectors; ++v) {
        const vector scale = scheme_has_chains(scheme) ? vector_load_i8(scales + v * VECTOR_LANES) : vector_set(1);
        LAMINA_UNROLL
        for (size_t c = 0; c < columns; ++c) {
            const vector activation = vector_set(x_scales[c * x_stride]);
            const vector factor = scheme_has_chains(scheme) ? vector_mul(scale, activation) : activation;
            sums[c][v] = vector_fma(product_floats(integers[c][v]), factor, sums[c][v]);
        }
    }
}

// Rows row..<row + vectors * VECTOR_LANES of a chain's panel times some columns.
typedef struct product_tile {
    product_chain chain;
    size_t row;
    lamina_quantized_activations x;  // of the first column, from the chain's first k
    float *y;                        // [columns][TASK_ROWS] from the panel's first row
    const uint8_t *ahead;            // codes to ask memory for meanwhile, as many as the chain's; may be NULL
} product_tile;

// Whether an escape lies in rows row..<row + rows of the chain.
LAMINA_INLINE bool chain_holds(const product_chain *chain, row8_escape escape, size_t row, size_t rows) {
    const size_t blocks = escape.k / QUANTIZED_BLOCK - chain->k / QUANTIZED_BLOCK;
    return escape.exists && escape.k >= chain->k && blocks < chain->blocks && escape.row >= row &&
           escape.row < row + rows;
}

LAMINA_INLINE bool has_escapes(const product_tile *tile, size_t rows) {
    bool found = false;
    for (size_t i = 0; i < LAMINA_ESCAPES; ++i) {
        found |= chain_holds(&tile->chain, row8_escape_at(tile->chain.panel, i), tile->row, rows);
    }
    return found;
}

// Not inlined: escapes are rare, and the loop over blocks needs all registers. sums: [columns][16], the tile's rows in
// front.
static __attribute__((noinline)) void add_escapes(const product_tile *tile, size_t columns, size_t rows,
                                                  float sums[][QUANTIZED_ROWS]) {
    for (size_t i = 0; i < LAMINA_ESCAPES; ++i) {
        const row8_escape escape = row8_escape_at(tile->chain.panel, i);
        if (!chain_holds(&tile->chain, escape, tile->row, rows)) {
            continue;
        }
        const size_t k = escape.k - tile->chain.k;
        for (size_t c = 0; c < columns; ++c) {
            const float code = (float)tile->x.codes[c * tile->x.code_stride + k];
            const float scale = tile->x.scales[c * tile->x.block_stride + k / QUANTIZED_BLOCK];
            float *sum = &sums[c][escape.row - tile->row];
            *sum = fmaf((float)(escape.code + 128), code * scale, *sum);
        }
    }
}

LAMINA_INLINE void add_escapes_to(size_t columns, size_t vectors, const product_tile *tile, product_sums sums) {
    float lanes[PRODUCT_COLUMNS][QUANTIZED_ROWS];
    for (size_t c = 0; c < columns; ++c) {
        for (size_t v = 0; v < vectors; ++v) {
            vector_store(lanes[c] + v * VECTOR_LANES, sums[c][v]);
        }
    }
    add_escapes(tile, columns, vectors * VECTOR_LANES, lanes);
    for (size_t c = 0; c < columns; ++c) {
        for (size_t v = 0; v < vectors; ++v) {
            sums[c][v] = vector_load(lanes[c] + v * VECTOR_LANES);
        }
    }
}

// y = result for the first chain, y += result for the later ones.
LAMINA_INLINE void finish_tile(lamina_scheme scheme, size_t columns, size_t vectors, const product_tile *tile,
                               product_sums sums) {
    const uint16_t *steps = tile->chain.panel->bytes;
    LAMINA_UNROLL
    for (size_t v = 0; v < vectors; ++v) {
        const size_t row = tile->row + v * VECTOR_LANES;
        const vector factor = scheme_has_chains(scheme) ? vector_load(tile->chain.supers + row)
                                                        : vector_load_bf16(steps + row);
        LAMINA_UNROLL
        for (size_t c = 0; c < columns; ++c) {
            float *y = tile->y + c * TASK_ROWS + row;
            const vector result = vector_mul(sums[c][v], factor);
            vector_store(y, tile->chain.k == 0 ? result : vector_add(vector_load(y), result));
        }
    }
}

LAMINA_INLINE void multiply_product_tile(lamina_scheme scheme, size_t columns, size_t vectors, product_tile tile) {
    const product_codebook codebook = product_codebook_load();
    const size_t x_stride = columns == 1 ? 0 : tile.x.code_stride;
    // A constant, so that columns are reached without a register each.
    const size_t block_stride = columns == 1 ? 0 : CHAIN_BLOCKS;
    const uint8_t *codes = tile.chain.codes + 4 * tile.row;
    const int8_t *scales = scheme_has_chains(scheme) ? tile.chain.scales + tile.row : NULL;
    product_sums sums;
    LAMINA_UNROLL
    for (size_t c = 0; c < columns; ++c) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            sums[c][v] = vector_set(0);
        }
    }
    for (size_t block = 0; block < tile.chain.blocks; ++block) {
        product_block_sums integers;
        if (columns > 1 && tile.ahead != NULL) {
            LAMINA_UNROLL
            for (size_t line = 0; line < code_bytes(scheme, QUANTIZED_BLOCK); line += 64) {
                __builtin_prefetch(tile.ahead + block * code_bytes(scheme, QUANTIZED_BLOCK) + line, 0, 2);
            }
        }
        LAMINA_UNROLL
        for (size_t c = 0; c < columns; ++c) {
            LAMINA_UNROLL
            for (size_t v = 0; v < vectors; ++v) {
                integers[c][v] = product_start(tile.x.corrections[block + c * block_stride]);
            }
        }
        const int8_t *x = tile.x.codes + block * QUANTIZED_BLOCK;
        add_block(scheme, columns, vectors, codebook, codes, x, x_stride, integers);
        finish_block(scheme, columns, vectors, scales, tile.x.scales + block, block_stride, integers, sums);
        codes += code_bytes(scheme, QUANTIZED_BLOCK);
        if (scheme_has_chains(scheme)) {
            scales += QUANTIZED_ROWS;
        }
    }
    if (scheme == LAMINA_SCHEME_ROW8 && has_escapes(&tile, vectors * VECTOR_LANES)) {
        add_escapes_to(columns, vectors, &tile, sums);
    }
    finish_tile(scheme, columns, vectors, &tile, sums);
}

LAMINA_INLINE void multiply_product_rows(lamina_scheme scheme, size_t columns, product_tile tile) {
    const size_t vectors = columns == 1 ? PRODUCT_SINGLE_VECTORS : PRODUCT_VECTORS;
    for (; tile.row < QUANTIZED_ROWS; tile.row += vectors * VECTOR_LANES) {
        multiply_product_tile(scheme, columns, vectors, tile);
    }
}

LAMINA_INLINE void multiply_product_columns(lamina_scheme scheme, size_t columns, product_tile tile) {
    switch (columns) {
    case 1: return multiply_product_rows(scheme, 1, tile);
    case 2: return multiply_product_rows(scheme, 2, tile);
    case 3: return multiply_product_rows(scheme, 3, tile);
#if PRODUCT_COLUMNS > 3
    case 4: return multiply_product_rows(scheme, 4, tile);
    case 5: return multiply_product_rows(scheme, 5, tile);
    case 6: return multiply_product_rows(scheme, 6, tile);
#endif
#if PRODUCT_COLUMNS > 6
    case 7: return multiply_product_rows(scheme, 7, tile);
    case 8: return multiply_product_rows(scheme, 8, tile);
    case 9: return multiply_product_rows(scheme, 9, tile);
    case 10: return multiply_product_rows(scheme, 10, tile);
    case 11: return multiply_product_rows(scheme, 11, tile);
    case 12: return multiply_product_rows(scheme, 12, tile);
#endif
    default: return;
    }
}

static void gather_blocks(const lamina_quantized_activations *x, size_t column, size_t columns, size_t k,
                          size_t k_count, gathered_blocks *gathered) {
    const size_t blocks = k_count / QUANTIZED_BLOCK;
    for (size_t c = 0; c < columns; ++c) {
        const size_t first = (column + c) * x->block_stride + k / QUANTIZED_BLOCK;
        memcpy(gathered->scales[c], x->scales + first, blocks * sizeof *x->scales);
        memcpy(gathered->corrections[c], x->corrections + first, blocks * sizeof *x->corrections);
    }
}

LAMINA_INLINE void multiply_one_panel(lamina_scheme scheme, const lamina_quantized_panel *panel,
                                      const lamina_quantized_activations *x, float *y) {
    for (size_t k = 0; k < panel->columns; k += LAMINA_CHAIN_LENGTH) {
        const product_tile tile = {
            .chain = product_chain_at(scheme, panel, k),
            .x = {
                .codes = x->codes + k,
                .scales = x->scales + k / QUANTIZED_BLOCK,
                .corrections = x->corrections + k / QUANTIZED_BLOCK,
            },
            .y = y,
        };
        multiply_product_rows(scheme, 1, tile);
    }
}

// One column reads its panels in order, each to its end.
LAMINA_INLINE void multiply_one_column(lamina_scheme scheme, const lamina_quantized_task *task) {
    for (size_t i = 0; i < task->panel_count; ++i) {
        float y[QUANTIZED_ROWS];
        multiply_one_panel(scheme, &task->panels[i], &task->x, y);
        memcpy(task->y + i * QUANTIZED_ROWS, y, task->panels[i].rows * sizeof *y);
    }
}

// The codes that are multiplied after a chain of a panel.
LAMINA_INLINE const uint8_t *next_codes(lamina_scheme scheme, const lamina_quantized_task *task, size_t panel,
                                        size_t k) {
    if (panel + 1 < task->panel_count) {
        return product_chain_at(scheme, &task->panels[panel + 1], k).codes;
    }
    const size_t next = k + LAMINA_CHAIN_LENGTH;
    return next < task->panels[0].columns ? product_chain_at(scheme, &task->panels[0], next).codes : NULL;
}

// One chain of all panels times a tile of columns, whose scales are gathered once for them.
LAMINA_INLINE void multiply_gathered(lamina_scheme scheme, const lamina_quantized_task *task, size_t k,
                                     size_t column, size_t columns, bool first, float *y) {
    const size_t padded = round_up(task->panels[0].columns, QUANTIZED_BLOCK);
    gathered_blocks gathered;
    gather_blocks(&task->x, column, columns, k, LAMINA_MIN(padded - k, (size_t)LAMINA_CHAIN_LENGTH), &gathered);
    for (size_t panel = 0; panel < task->panel_count; ++panel) {
        const product_tile tile = {
            .chain = product_chain_at(scheme, &task->panels[panel], k),
            .x = {
                .codes = task->x.codes + column * task->x.code_stride + k,
                .code_stride = task->x.code_stride,
                .scales = gathered.scales[0],
                .corrections = gathered.corrections[0],
                .block_stride = CHAIN_BLOCKS,
            },
            .y = y + panel * QUANTIZED_ROWS,
            .ahead = first ? next_codes(scheme, task, panel, k) : NULL,
        };
        multiply_product_columns(scheme, columns, tile);
    }
}

// Parts of about the same size: 16 columns as 8 and 8 rather than 12 and 4.
LAMINA_INLINE size_t part_begin(size_t count, size_t largest, size_t part) {
    const size_t parts = (count + largest - 1) / largest;
    return part * count / parts;
}

LAMINA_INLINE void multiply_column_group(lamina_scheme scheme, const lamina_quantized_task *task, size_t column,
                                         size_t columns) {
    float y[GROUP_COLUMNS][TASK_ROWS];
    for (size_t k = 0; k < task->panels[0].columns; k += LAMINA_CHAIN_LENGTH) {
        for (size_t tile = 0, begin = 0; begin < columns; ++tile) {
            const size_t end = part_begin(columns, PRODUCT_COLUMNS, tile + 1);
            multiply_gathered(scheme, task, k, column + begin, end - begin, begin == 0, y[begin]);
            begin = end;
        }
    }
    for (size_t c = 0; c < columns; ++c) {
        for (size_t panel = 0; panel < task->panel_count; ++panel) {
            memcpy(task->y + (column + c) * task->y_stride + panel * QUANTIZED_ROWS, y[c] + panel * QUANTIZED_ROWS,
                   task->panels[panel].rows * sizeof(float));
        }
    }
}

LAMINA_INLINE void multiply_quantized(lamina_scheme scheme, const lamina_quantized_task *task) {
    if (task->columns == 1) {
        multiply_one_column(scheme, task);
        return;
    }
    for (size_t group = 0, begin = 0; begin < task->columns; ++group) {
        const size_t end = part_begin(task->columns, GROUP_COLUMNS, group + 1);
        multiply_column_group(scheme, task, begin, end - begin);
        begin = end;
    }
}

static void multiply_quantized_row8(const lamina_quantized_task *task) {
    multiply_quantized(LAMINA_SCHEME_ROW8, task);
}

static void multiply_quantized_q8(const lamina_quantized_task *task) {
    multiply_quantized(LAMINA_SCHEME_Q8, task);
}

static void multiply_quantized_q4(const lamina_quantized_task *task) {
    multiply_quantized(LAMINA_SCHEME_Q4, task);
}

#endif
