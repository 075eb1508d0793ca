// One query against one KV head's cache. Compiled once per instruction set, after the vector of panel_product.h.
#ifndef LAMINA_ATTENTION_H
#define LAMINA_ATTENTION_H

#include "elementwise.h"

enum {
    SCORE_BLOCKS = 4,  // key blocks at once: one chain per position would wait for its own fma
    BLOCK_VECTORS = LAMINA_KEY_BLOCK / VECTOR_LANES,
    OUTPUT_VECTORS = 8,
};

// Unscaled scores of `blocks` blocks of 16 positions.
LAMINA_INLINE void score_blocks(const lamina_attention_task *task, size_t block, size_t blocks) {
    const size_t block_size = task->head_dim * LAMINA_KEY_BLOCK;
    const float *keys = task->keys + block * block_size;
    vector sums[SCORE_BLOCKS][BLOCK_VECTORS];
    LAMINA_UNROLL
    for (size_t b = 0; b < blocks; ++b) {
        LAMINA_UNROLL
        for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
            sums[b][v] = vector_set(0);
        }
    }
    for (size_t d = 0; d < task->head_dim; ++d) {
        const vector query = vector_set(task->query[d]);
        LAMINA_UNROLL
        for (size_t b = 0; b < blocks; ++b) {
            const float *row = keys + b * block_size + d * LAMINA_KEY_BLOCK;
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                sums[b][v] = vector_fma(query, vector_load(row + v * VECTOR_LANES), sums[b][v]);
            }
        }
    }
    LAMINA_UNROLL
    for (size_t b = 0; b < blocks; ++b) {
        float *scores = task->scores + (block + b) * LAMINA_KEY_BLOCK;
        LAMINA_UNROLL
        for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
            vector_store(scores + v * VECTOR_LANES, sums[b][v]);
        }
        LAMINA_EACH_LANE scores[i] *= task->scale;
    }
}

// output[d ..] for `vectors` vectors: lanes are dimensions, so each output is one chain over the positions.
LAMINA_INLINE void weigh_values(const lamina_attention_task *task, size_t d, size_t vectors) {
    vector sums[OUTPUT_VECTORS];
    LAMINA_UNROLL
    for (size_t v = 0; v < vectors; ++v) {
        sums[v] = vector_set(0);
    }
    for (size_t position = task->first; position < task->count; ++position) {
        const vector weight = vector_set(task->scores[position]);
        const float *row = task->values + position * task->head_dim + d;
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            sums[v] = vector_fma(weight, vector_load(row + v * VECTOR_LANES), sums[v]);
        }
    }
    LAMINA_UNROLL
    for (size_t v = 0; v < vectors; ++v) {
        vector_store(task->output + d + v * VECTOR_LANES, sums[v]);
    }
}

static void weigh_all_values(const lamina_attention_task *task) {
    size_t d = 0;
    for (; d + OUTPUT_VECTORS * VECTOR_LANES <= task->head_dim; d += OUTPUT_VECTORS * VECTOR_LANES) {
        weigh_values(task, d, OUTPUT_VECTORS);
    }
    // A head of 64 is four vectors of 16: one after the other each would wait for its own fma.
    for (; d + OUTPUT_VECTORS / 2 * VECTOR_LANES <= task->head_dim; d += OUTPUT_VECTORS / 2 * VECTOR_LANES) {
        weigh_values(task, d, OUTPUT_VECTORS / 2);
    }
    for (; d + VECTOR_LANES <= task->head_dim; d += VECTOR_LANES) {
        weigh_values(task, d, 1);
    }
    for (; d < task->head_dim; ++d) {
        float sum = 0;
        for (size_t position = task->first; position < task->count; ++position) {
            sum = fmaf(task->scores[position], task->values[position * task->head_dim + d], sum);
        }
        task->output[d] = sum;
    }
}

static void attend(const lamina_attention_task *task) {
    const size_t first_block = task->first / LAMINA_KEY_BLOCK;
    const size_t end_block = (task->count + LAMINA_KEY_BLOCK - 1) / LAMINA_KEY_BLOCK;
    size_t block = first_block;
    for (; block + SCORE_BLOCKS <= end_block; block += SCORE_BLOCKS) {
        score_blocks(task, block, SCORE_BLOCKS);
    }
    for (; block < end_block; ++block) {
        score_blocks(task, block, 1);
    }
    // The cache outside the window may never have been written: whatever was computed from it is replaced.
    for (size_t i = first_block * LAMINA_KEY_BLOCK; i < task->first; ++i) {
        task->scores[i] = -INFINITY;
    }
    for (size_t i = task->count; i < end_block * LAMINA_KEY_BLOCK; ++i) {
        task->scores[i] = -INFINITY;
    }
    if (first_block < end_block) {
        softmax(task->scores + first_block * LAMINA_KEY_BLOCK, (end_block - first_block) * LAMINA_KEY_BLOCK);
    }
    weigh_all_values(task);
}

#endif
