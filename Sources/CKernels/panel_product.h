// One panel times the columns of a batch, and widening. Compiled once per instruction set, after these are defined:
//   vector, VECTOR_LANES            a vector of f32; its lanes are output rows
//   vector_set, vector_load, vector_store, vector_add, vector_fma(a, b, sum)
//   vector_load_bf16_even, vector_load_bf16_odd   one of each pair of neighbouring k
//   vector_load_f16
//   SINGLE_COLUMN_ROWS              rows at once for one column: enough chains to hide the latency of fma
//   TILE_ROWS                       rows at once for up to 6 columns: as many chains as there are registers
// Row and column tiles only choose which chains run side by side, never the order inside a chain.
#ifndef LAMINA_PANEL_PRODUCT_H
#define LAMINA_PANEL_PRODUCT_H

#include "internal.h"

enum {
    TILE_COLUMNS = 6,
    WIDTH_STEP = 16,  // every panel width is a multiple of it
    MAXIMUM_VECTORS = LAMINA_PANEL_ROWS / VECTOR_LANES,
};

LAMINA_INLINE const uint8_t *panel_address(lamina_weight_type type, const lamina_panel_task *task, size_t k,
                                           size_t row) {
    const uint8_t *weights = task->weights;
    switch (type) {
    case LAMINA_WEIGHT_BF16: return weights + (k * task->width + 2 * row) * 2;  // k is even here
    case LAMINA_WEIGHT_F16: return weights + (k * task->width + row) * 2;
    default: return weights + (k * task->width + row) * 4;
    }
}

// `weights` points at an even k (BF16: at the pair), `parity` chooses it or the next.
LAMINA_INLINE vector load_weights(lamina_weight_type type, const uint8_t *weights, size_t width, size_t parity,
                                  size_t lane) {
    switch (type) {
    case LAMINA_WEIGHT_BF16: {
        const uint16_t *pair = (const uint16_t *)(const void *)weights + 2 * lane;
        return parity == 0 ? vector_load_bf16_even(pair) : vector_load_bf16_odd(pair);
    }
    case LAMINA_WEIGHT_F16: return vector_load_f16((const uint16_t *)(const void *)weights + parity * width + lane);
    default: return vector_load((const float *)(const void *)weights + parity * width + lane);
    }
}

typedef vector tile_sums[TILE_COLUMNS][MAXIMUM_VECTORS];

LAMINA_INLINE void tile_step(lamina_weight_type type, size_t columns, size_t vectors, const uint8_t *weights,
                             size_t width, size_t parity, const float *x, size_t x_stride, tile_sums sums) {
    vector row[MAXIMUM_VECTORS];
    LAMINA_UNROLL
    for (size_t v = 0; v < vectors; ++v) {
        row[v] = load_weights(type, weights, width, parity, v * VECTOR_LANES);
    }
    LAMINA_UNROLL
    for (size_t c = 0; c < columns; ++c) {
        const vector activation = vector_set(x[c * x_stride + parity]);
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            sums[c][v] = vector_fma(row[v], activation, sums[c][v]);
        }
    }
}

// y = sum for the first chain of a row, y += sum for the later ones; padded rows are dropped.
LAMINA_INLINE void finish_chain(vector sum, float *y, size_t rows, bool first) {
    if (rows >= VECTOR_LANES) {
        vector_store(y, first ? sum : vector_add(vector_load(y), sum));
        return;
    }
    float lanes[VECTOR_LANES];
    vector_store(lanes, sum);
    for (size_t i = 0; i < rows; ++i) {
        y[i] = first ? lanes[i] : y[i] + lanes[i];
    }
}

// Part of a panel: `vectors` vectors of rows by `columns` columns over one chain's k values.
typedef struct panel_tile {
    const lamina_panel_task *task;
    size_t k;  // from the beginning of the stored range
    size_t k_count;
    size_t row;
    size_t column;
    const uint8_t *coded;  // if the words were decoded to a buffer of one chain: a byte for each word of the next chain
} panel_tile;

LAMINA_INLINE void begin_chains(size_t columns, size_t vectors, tile_sums sums) {
    LAMINA_UNROLL
    for (size_t c = 0; c < columns; ++c) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            sums[c][v] = vector_set(0);
        }
    }
}

LAMINA_INLINE void finish_chains(size_t columns, size_t vectors, panel_tile tile, tile_sums sums) {
    const lamina_panel_task *task = tile.task;
    LAMINA_UNROLL
    for (size_t c = 0; c < columns; ++c) {
        float *y = task->y + (tile.column + c) * task->y_stride;
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            const size_t row = tile.row + v * VECTOR_LANES;
            const size_t rows = task->rows > row ? task->rows - row : 0;
            finish_chain(sums[c][v], y + row, rows, task->k_begin + tile.k == 0);
        }
    }
}

// What a tile asks for while it multiplies: `step` bytes of memory at `first` for each pair of k.
typedef struct panel_prefetch {
    const uint8_t *first;
    size_t step;
} panel_prefetch;

// The first column tile asks for its part of the next chain, the others for what they are about to read.
LAMINA_INLINE panel_prefetch prefetch_for(bool buffered, panel_tile tile, size_t rows, const uint8_t *weights,
                                          size_t pair_size) {
    if (tile.column > 0) {
        return (panel_prefetch){weights, pair_size};
    }
    if (buffered) {
        return (panel_prefetch){tile.coded + LAMINA_CHAIN_LENGTH * tile.row, 2 * rows};
    }
    return (panel_prefetch){weights + LAMINA_CHAIN_LENGTH / 2 * pair_size, pair_size};
}

LAMINA_INLINE void multiply_tile(lamina_weight_type type, bool buffered, size_t columns, size_t vectors,
                                 panel_tile tile) {
    const lamina_panel_task *task = tile.task;
    const size_t width = task->width;
    const size_t x_stride = task->x_stride;
    const uint8_t *weights = panel_address(type, task, tile.k, tile.row);
    const size_t pair_size = (size_t)(panel_address(type, task, tile.k + 2, tile.row) - weights);
    const float *x = task->x + tile.column * x_stride + task->k_begin + tile.k;
    tile_sums sums;
    begin_chains(columns, vectors, sums);
    // A tile of a part of the rows reads the panel with gaps, which hardware prefetch does not follow; nor does it know
    // what is decoded after this chain. Tiles of all rows read in order and are slower with prefetches.
    const size_t rows = vectors * VECTOR_LANES;
    const bool prefetches = buffered || (columns > 1 && rows < LAMINA_PANEL_ROWS);
    panel_prefetch ahead = prefetch_for(buffered, tile, rows, weights, pair_size);
    for (size_t pair = 0; pair < tile.k_count / 2; ++pair) {
        if (prefetches) {
            __builtin_prefetch(ahead.first, 0, 2);
            if (buffered ? 2 * rows > 64 : type != LAMINA_WEIGHT_BF16) {  // the second k lies in another line
                __builtin_prefetch(ahead.first + (buffered ? 64 : pair_size / 2), 0, 2);
            }
            ahead.first += ahead.step;
        }
        tile_step(type, columns, vectors, weights, width, 0, x, x_stride, sums);
        tile_step(type, columns, vectors, weights, width, 1, x, x_stride, sums);
        weights += pair_size;
        x += 2;
    }
    if (tile.k_count % 2 != 0) {
        tile_step(type, columns, vectors, weights, width, 0, x, x_stride, sums);
    }
    finish_chains(columns, vectors, tile, sums);
}

LAMINA_INLINE void multiply_rows(lamina_weight_type type, bool buffered, size_t columns, panel_tile tile) {
    const size_t most = columns == 1 ? SINGLE_COLUMN_ROWS : TILE_ROWS;
    const size_t width = tile.task->width;
    for (; width - tile.row >= most; tile.row += most) {
        multiply_tile(type, buffered, columns, most / VECTOR_LANES, tile);
    }
    if (most <= WIDTH_STEP) {
        return;  // it divides every width
    }
    for (; tile.row < width; tile.row += WIDTH_STEP) {
        multiply_tile(type, buffered, columns, WIDTH_STEP / VECTOR_LANES, tile);
    }
}

LAMINA_INLINE void multiply_chain(lamina_weight_type type, bool buffered, panel_tile tile) {
    size_t left = tile.task->columns;
    while (left > 0) {
        // Tiles of nearly equal width: 7 columns are 4 + 3, since 6 + 1 would run the last one at the speed of one.
        const size_t tiles = (left + TILE_COLUMNS - 1) / TILE_COLUMNS;
        const size_t columns = (left + tiles - 1) / tiles;
        switch (columns) {
        case 1: multiply_rows(type, buffered, 1, tile); break;
        case 2: multiply_rows(type, buffered, 2, tile); break;
        case 3: multiply_rows(type, buffered, 3, tile); break;
        case 4: multiply_rows(type, buffered, 4, tile); break;
        case 5: multiply_rows(type, buffered, 5, tile); break;
        default: multiply_rows(type, buffered, TILE_COLUMNS, tile); break;
        }
        tile.column += columns;
        left -= columns;
    }
}

LAMINA_INLINE void multiply_panel(lamina_weight_type type, const lamina_panel_task *task) {
    for (size_t k = 0; k < task->k_count; k += LAMINA_CHAIN_LENGTH) {
        const size_t k_count = LAMINA_MIN(task->k_count - k, (size_t)LAMINA_CHAIN_LENGTH);
        multiply_chain(type, false, (panel_tile){.task = task, .k = k, .k_count = k_count});
    }
}

static void multiply_panel_bf16(const lamina_panel_task *task) {
    multiply_panel(LAMINA_WEIGHT_BF16, task);
}

static void multiply_panel_f16(const lamina_panel_task *task) {
    multiply_panel(LAMINA_WEIGHT_F16, task);
}

static void multiply_panel_f32(const lamina_panel_task *task) {
    multiply_panel(LAMINA_WEIGHT_F32, task);
}

static void widen_bf16(const void *source, float *target, size_t count) {
    const uint16_t *words = source;
    for (size_t i = 0; i < count; ++i) {
        target[i] = lamina_float_from_bf16(words[i]);
    }
}

static void widen_f16(const void *source, float *target, size_t count) {
    const uint16_t *words = source;
    size_t i = 0;
    for (; i + VECTOR_LANES <= count; i += VECTOR_LANES) {
        vector_store(target + i, vector_load_f16(words + i));
    }
    for (; i < count; ++i) {
        target[i] = lamina_float_from_f16(words[i]);
    }
}

static void widen_f32(const void *source, float *target, size_t count) {
    memcpy(target, source, count * sizeof *target);
}

#endif
