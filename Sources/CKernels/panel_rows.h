// Rows of a panel as row-major f32, for products with the transposed matrix.
#ifndef LAMINA_PANEL_ROWS_H
#define LAMINA_PANEL_ROWS_H

#include "float8.h"
#include "panel_layout.h"
#include "panel_product.h"

typedef float float_block[BLOCK][BLOCK];

// tile[k][row] of up to 16 k and 16 rows; +0 behind the last k.
LAMINA_INLINE void widen_tile(lamina_weight_type type, const lamina_panel_task *panel, size_t row, size_t k,
                              size_t k_count, float_block tile) {
    memset(tile[k_count], 0, (BLOCK - k_count) * sizeof tile[0]);
    for (size_t i = 0; i < k_count; ++i) {
        if (type == LAMINA_WEIGHT_E4M3 || type == LAMINA_WEIGHT_E5M2) {
            const uint8_t *codes = panel->weights;
            const lamina_lanes values = f8_lanes(type, codes + (k + i) * panel->width + row);
            memcpy(tile[i], &values, sizeof values);
            continue;
        }
        const uint8_t *weights = panel_address(type, panel, (k + i) / 2 * 2, row);
        for (size_t lane = 0; lane < BLOCK; lane += VECTOR_LANES) {
            vector_store(tile[i] + lane, load_weights(type, weights, panel->width, i % 2, lane));
        }
    }
}

// The part of a 16 x 16 block of the matrix that lies in rows row_begin..<row_end, turned.
static void write_rows(float_block tile, size_t row, size_t row_begin, size_t row_end, size_t k_count, float *out,
                       size_t out_stride) {
    const size_t stride_bytes = out_stride * sizeof(float);
    if (row >= row_begin && row + BLOCK <= row_end && k_count == BLOCK) {
        transpose_block((const uint8_t *)tile, BLOCK_BYTES, (uint8_t *)(out + (row - row_begin) * out_stride),
                        stride_bytes);
        return;
    }
    float_block turned;
    transpose_block((const uint8_t *)tile, BLOCK_BYTES, (uint8_t *)turned, BLOCK_BYTES);
    for (size_t i = 0; i < BLOCK; ++i) {
        if (row + i >= row_begin && row + i < row_end) {
            memcpy(out + (row + i - row_begin) * out_stride, turned[i], k_count * sizeof(float));
        }
    }
}

LAMINA_INLINE void panel_rows_of(lamina_weight_type type, const lamina_panel_task *panel, size_t row_begin,
                                 size_t row_end, size_t k_count, float *out, size_t out_stride) {
    for (size_t k = 0; k < k_count; k += BLOCK) {
        const size_t count = LAMINA_MIN(k_count - k, (size_t)BLOCK);
        for (size_t row = row_begin / BLOCK * BLOCK; row < row_end; row += BLOCK) {
            float_block tile;
            widen_tile(type, panel, row, k, count, tile);
            write_rows(tile, row, row_begin, row_end, count, out + k, out_stride);
        }
    }
}

static void panel_rows(lamina_weight_type type, const void *panel, size_t width, size_t row_begin, size_t row_count,
                       size_t k_count, float *out, size_t out_stride) {
    const lamina_panel_task task = {.weights = panel, .width = width};
    const size_t row_end = row_begin + row_count;
    switch (type) {
    case LAMINA_WEIGHT_BF16:
        return panel_rows_of(LAMINA_WEIGHT_BF16, &task, row_begin, row_end, k_count, out, out_stride);
    case LAMINA_WEIGHT_F16:
        return panel_rows_of(LAMINA_WEIGHT_F16, &task, row_begin, row_end, k_count, out, out_stride);
    case LAMINA_WEIGHT_F32:
        return panel_rows_of(LAMINA_WEIGHT_F32, &task, row_begin, row_end, k_count, out, out_stride);
    case LAMINA_WEIGHT_E4M3:
        return panel_rows_of(LAMINA_WEIGHT_E4M3, &task, row_begin, row_end, k_count, out, out_stride);
    case LAMINA_WEIGHT_E5M2:
        return panel_rows_of(LAMINA_WEIGHT_E5M2, &task, row_begin, row_end, k_count, out, out_stride);
    }
}

#endif
