// Narrow panels times int8 activations; results equal those of ROW8 (quantized_product.h, included before). One column
// makes codes bytes in registers, more of them a chain at a time in the cache.
#ifndef LAMINA_NARROW_PRODUCT_H
#define LAMINA_NARROW_PRODUCT_H

#include "narrow.h"
#include "quantized_product.h"

enum {
    // Bytes ahead of the codes in use to ask memory for: a block takes so many instructions that too few blocks are on
    // their way otherwise (Benchmarks/kernels/narrow_benchmark.c).
    NARROW_AHEAD = 4096,
    NARROW_TILE_ROWS = PRODUCT_SINGLE_VECTORS * VECTOR_LANES,
    NARROW_TILES = QUANTIZED_ROWS / NARROW_TILE_ROWS,
};

typedef vector narrow_sums[NARROW_TILES][PRODUCT_COLUMNS][PRODUCT_MOST_VECTORS];
typedef int32_t integer_lanes __attribute__((vector_size(sizeof(int32_t) * VECTOR_LANES)));

_Static_assert(sizeof(integer_lanes) == sizeof(product_integers), "integer sums are 32-bit lanes");

// Adds to a block's integer sums what its listed codes are more than what is stored for them.
LAMINA_INLINE void add_listed(const narrow_panel *panel, size_t block, const int8_t *x,
                              product_integers integers[NARROW_TILES][PRODUCT_SINGLE_VECTORS]) {
    static const int32_t rows[QUANTIZED_ROWS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const size_t end = narrow_listed_before(panel, block + 1);
    // One at a time: there are few, and the instructions to do more at once cost more than they are worth.
    LAMINA_NO_VECTORS
    for (size_t i = narrow_listed_before(panel, block); i < end; ++i) {
        const narrow_listed listed = narrow_listed_at(panel, i);
        const int32_t product = listed.more * x[listed.k];
        LAMINA_UNROLL
        for (size_t v = 0; v < NARROW_TILES * PRODUCT_SINGLE_VECTORS; ++v) {
            product_integers *sums = &integers[v / PRODUCT_SINGLE_VECTORS][v % PRODUCT_SINGLE_VECTORS];
            integer_lanes lanes, sum;
            memcpy(&lanes, rows + v * VECTOR_LANES, sizeof lanes);
            memcpy(&sum, sums, sizeof sum);
            sum += (lanes == (int32_t)listed.row) & product;
            memcpy(sums, &sum, sizeof sum);
        }
    }
}

LAMINA_INLINE void add_narrow_block(size_t planes, const narrow_panel *panel, const lamina_quantized_activations *x,
                                    size_t block, narrow_sums sums) {
    const product_codebook codebook = product_codebook_load();
    const int8_t *x_codes = x->codes + block * QUANTIZED_BLOCK;
    const uint8_t *block_codes = panel->codes + block * narrow_block_bytes(NARROW_LEAST + planes);
    LAMINA_UNROLL
    for (size_t line = 0; line < NARROW_LEAST + planes; ++line) {
        __builtin_prefetch(block_codes + NARROW_AHEAD + line * 64, 0, 2);
    }
    // Stays in registers.
    uint8_t codes[NARROW_CODES];
    restore_groups(planes, block_codes, codes);
    product_integers integers[NARROW_TILES][PRODUCT_SINGLE_VECTORS];
    product_block_sums all[NARROW_TILES];
    LAMINA_UNROLL
    for (size_t tile = 0; tile < NARROW_TILES; ++tile) {
        LAMINA_UNROLL
        for (size_t v = 0; v < PRODUCT_SINGLE_VECTORS; ++v) {
            all[tile][0][v] = product_start(x->corrections[block]);
        }
        add_block(LAMINA_SCHEME_ROW8, 1, PRODUCT_SINGLE_VECTORS, codebook, codes + 4 * tile * NARROW_TILE_ROWS, x_codes,
                  0, all[tile]);
        memcpy(integers[tile], all[tile][0], sizeof integers[tile]);
    }
    add_listed(panel, block, x_codes, integers);
    LAMINA_UNROLL
    for (size_t tile = 0; tile < NARROW_TILES; ++tile) {
        memcpy(all[tile][0], integers[tile], sizeof integers[tile]);
        finish_block(LAMINA_SCHEME_ROW8, 1, PRODUCT_SINGLE_VECTORS, NULL, x->scales + block, 0, all[tile], sums[tile]);
    }
}

LAMINA_INLINE void finish_narrow_chain(const lamina_quantized_panel *row8, const lamina_quantized_activations *x,
                                       size_t k, narrow_sums sums, float *y) {
    for (size_t number = 0; number < NARROW_TILES; ++number) {
        const product_tile tile = {
            .chain = product_chain_at(LAMINA_SCHEME_ROW8, row8, k),
            .row = number * NARROW_TILE_ROWS,
            .x = {.codes = x->codes + k, .scales = x->scales + k / QUANTIZED_BLOCK},
            .y = y,
        };
        if (has_escapes(&tile, NARROW_TILE_ROWS)) {
            add_escapes_to(1, PRODUCT_SINGLE_VECTORS, &tile, sums[number]);
        }
        finish_tile(LAMINA_SCHEME_ROW8, 1, PRODUCT_SINGLE_VECTORS, &tile, sums[number]);
    }
}

LAMINA_INLINE void multiply_narrow_planes(size_t planes, const narrow_panel *narrow,
                                          const lamina_quantized_panel *row8, const lamina_quantized_activations *x,
                                          float *y) {
    const size_t blocks = round_up(row8->columns, QUANTIZED_BLOCK) / QUANTIZED_BLOCK;
    for (size_t first = 0; first < blocks; first += CHAIN_BLOCKS) {
        narrow_sums sums;
        for (size_t i = 0; i < NARROW_TILES * PRODUCT_SINGLE_VECTORS; ++i) {
            sums[i / PRODUCT_SINGLE_VECTORS][0][i % PRODUCT_SINGLE_VECTORS] = vector_set(0);
        }
        const size_t end = LAMINA_MIN(blocks, first + CHAIN_BLOCKS);
        for (size_t block = first; block < end; ++block) {
            add_narrow_block(planes, narrow, x, block, sums);
        }
        finish_narrow_chain(row8, x, first * QUANTIZED_BLOCK, sums, y);
    }
}

LAMINA_INLINE void multiply_narrow_panel(const lamina_quantized_panel *panel, const lamina_quantized_activations *x,
                                         float *y) {
    const narrow_panel narrow = narrow_panel_at(panel->bytes, panel->columns);
    lamina_quantized_panel row8 = *panel;
    row8.bytes = narrow.row8;
    switch (narrow.bits) {
    case 4: multiply_narrow_planes(0, &narrow, &row8, x, y); break;
    case 5: multiply_narrow_planes(1, &narrow, &row8, x, y); break;
    case 6: multiply_narrow_planes(2, &narrow, &row8, x, y); break;
    default: multiply_one_panel(LAMINA_SCHEME_ROW8, &row8, x, y); break;
    }
}

// One chain of a panel, its codes as bytes, times columns column..<column + columns; y: [columns][TASK_ROWS].
LAMINA_INLINE void multiply_restored_chain(const product_chain *chain, const uint8_t *ahead,
                                           const lamina_quantized_activations *x, size_t column, size_t columns,
                                           float *y) {
    for (size_t number = 0, begin = 0; begin < columns; ++number) {
        const size_t end = part_begin(columns, PRODUCT_COLUMNS, number + 1);
        gathered_blocks gathered;
        gather_blocks(x, column + begin, end - begin, chain->k, chain->blocks * QUANTIZED_BLOCK, &gathered);
        const product_tile tile = {
            .chain = *chain,
            .x = {
                .codes = x->codes + (column + begin) * x->code_stride + chain->k,
                .code_stride = x->code_stride,
                .scales = gathered.scales[0],
                .corrections = gathered.corrections[0],
                .block_stride = CHAIN_BLOCKS,
            },
            .y = y + begin * TASK_ROWS,
            .ahead = begin == 0 ? ahead : NULL,
        };
        multiply_product_columns(LAMINA_SCHEME_ROW8, end - begin, tile);
        begin = end;
    }
}

LAMINA_INLINE void multiply_restored_panel(const lamina_quantized_panel *panel, const lamina_quantized_activations *x,
                                           size_t column, size_t columns, float *y) {
    uint8_t codes[CHAIN_BLOCKS * NARROW_CODES];
    const narrow_panel narrow = narrow_panel_at(panel->bytes, panel->columns);
    lamina_quantized_panel row8 = *panel;
    row8.bytes = narrow.row8;
    for (size_t k = 0; k < panel->columns; k += LAMINA_CHAIN_LENGTH) {
        product_chain chain = product_chain_at(LAMINA_SCHEME_ROW8, &row8, k);
        const size_t block = k / QUANTIZED_BLOCK;
        if (narrow.bits <= NARROW_MOST) {
            restore_blocks(&narrow, block, chain.blocks, codes);
            chain.codes = codes;
        }
        const bool goes_on = narrow.bits <= NARROW_MOST && k + LAMINA_CHAIN_LENGTH < panel->columns;
        const uint8_t *next = narrow.codes + (block + CHAIN_BLOCKS) * narrow_block_bytes(narrow.bits);
        multiply_restored_chain(&chain, goes_on ? next : NULL, x, column, columns, y);
    }
}

static void multiply_narrow_group(const lamina_quantized_task *task, size_t column, size_t columns) {
    float y[GROUP_COLUMNS][TASK_ROWS];
    for (size_t i = 0; i < task->panel_count; ++i) {
        if (task->columns == 1) {
            multiply_narrow_panel(&task->panels[i], &task->x, y[0] + i * QUANTIZED_ROWS);
        } else {
            multiply_restored_panel(&task->panels[i], &task->x, column, columns, y[0] + i * QUANTIZED_ROWS);
        }
    }
    for (size_t c = 0; c < columns; ++c) {
        for (size_t i = 0; i < task->panel_count; ++i) {
            memcpy(task->y + (column + c) * task->y_stride + i * QUANTIZED_ROWS, y[c] + i * QUANTIZED_ROWS,
                   task->panels[i].rows * sizeof(float));
        }
    }
}

static void multiply_narrow(const lamina_quantized_task *task) {
    for (size_t group = 0, begin = 0; begin < task->columns; ++group) {
        const size_t end = part_begin(task->columns, GROUP_COLUMNS, group + 1);
        multiply_narrow_group(task, begin, end - begin);
        begin = end;
    }
}

#endif
