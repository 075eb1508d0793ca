// Queries that share one KV head's cache. Compiled once per instruction set, after the vector of panel_product.h.
#ifndef LAMINA_ATTENTION_H
#define LAMINA_ATTENTION_H

#include "elementwise.h"

enum {
    BLOCK_VECTORS = LAMINA_KEY_BLOCK / VECTOR_LANES,
    // Chains at once: one would wait for its own fma, more would not stay in registers.
    ATTENTION_CHAINS = 8,
    SCORE_BLOCKS = ATTENTION_CHAINS > BLOCK_VECTORS ? ATTENTION_CHAINS / BLOCK_VECTORS : 1,
};

// Unscaled scores of `queries` queries with `blocks` blocks of 16 positions.
LAMINA_INLINE void score_blocks(const lamina_attention_task *task, size_t block, size_t blocks, size_t queries) {
    const size_t block_size = task->head_dim * LAMINA_KEY_BLOCK;
    const float *keys = task->keys + block * block_size;
    vector sums[LAMINA_ATTENTION_QUERIES][SCORE_BLOCKS][BLOCK_VECTORS];
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t b = 0; b < blocks; ++b) {
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                sums[q][b][v] = vector_set(0);
            }
        }
    }
    for (size_t d = 0; d < task->head_dim; ++d) {
        LAMINA_UNROLL
        for (size_t b = 0; b < blocks; ++b) {
            const float *row = keys + b * block_size + d * LAMINA_KEY_BLOCK;
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                const vector key = vector_load(row + v * VECTOR_LANES);
                LAMINA_UNROLL
                for (size_t q = 0; q < queries; ++q) {
                    sums[q][b][v] = vector_fma(vector_set(task->query[q * task->head_dim + d]), key, sums[q][b][v]);
                }
            }
        }
    }
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t b = 0; b < blocks; ++b) {
            float *scores = task->scores + q * task->score_stride + (block + b) * LAMINA_KEY_BLOCK;
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                vector_store(scores + v * VECTOR_LANES, sums[q][b][v]);
            }
            LAMINA_EACH_LANE scores[i] *= task->scale;
        }
    }
}

// output[.., d ..] for `vectors` vectors: lanes are dimensions, so each output is one chain over the positions.
LAMINA_INLINE void weigh_values(const lamina_attention_task *task, size_t d, size_t vectors, size_t queries) {
    vector sums[LAMINA_ATTENTION_QUERIES][ATTENTION_CHAINS];
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            sums[q][v] = vector_set(0);
        }
    }
    for (size_t position = task->first; position < task->count; ++position) {
        const float *row = task->values + position * task->head_dim + d;
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            const vector value = vector_load(row + v * VECTOR_LANES);
            LAMINA_UNROLL
            for (size_t q = 0; q < queries; ++q) {
                const vector weight = vector_set(task->scores[q * task->score_stride + position]);
                sums[q][v] = vector_fma(weight, value, sums[q][v]);
            }
        }
    }
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            vector_store(task->output + q * task->head_dim + d + v * VECTOR_LANES, sums[q][v]);
        }
    }
}

// The dimensions from `d` on that fill steps of `vectors` vectors; returns the first that is left.
LAMINA_INLINE size_t weigh_steps(const lamina_attention_task *task, size_t d, size_t vectors, size_t queries) {
    for (; d + vectors * VECTOR_LANES <= task->head_dim; d += vectors * VECTOR_LANES) {
        weigh_values(task, d, vectors, queries);
    }
    return d;
}

static void weigh_rest(const lamina_attention_task *task, size_t d, size_t query) {
    const float *scores = task->scores + query * task->score_stride;
    for (; d < task->head_dim; ++d) {
        float sum = 0;
        for (size_t position = task->first; position < task->count; ++position) {
            sum = fmaf(scores[position], task->values[position * task->head_dim + d], sum);
        }
        task->output[query * task->head_dim + d] = sum;
    }
}

static void score_softmax(const lamina_attention_task *task, size_t query) {
    const size_t first = task->first / LAMINA_KEY_BLOCK * LAMINA_KEY_BLOCK;
    const size_t end = (task->count + LAMINA_KEY_BLOCK - 1) / LAMINA_KEY_BLOCK * LAMINA_KEY_BLOCK;
    float *scores = task->scores + query * task->score_stride;
    // The cache outside the window may never have been written: whatever was computed from it is replaced.
    for (size_t i = first; i < task->first; ++i) {
        scores[i] = -INFINITY;
    }
    for (size_t i = task->count; i < end; ++i) {
        scores[i] = -INFINITY;
    }
    if (first < end) {
        softmax(scores + first, end - first);
    }
}

// `queries` is a constant, so that every chain has a register.
LAMINA_INLINE void attend_queries(const lamina_attention_task *task, size_t queries) {
    const size_t wide = SCORE_BLOCKS / queries > 0 ? SCORE_BLOCKS / queries : 1;
    const size_t end = (task->count + LAMINA_KEY_BLOCK - 1) / LAMINA_KEY_BLOCK;
    size_t block = task->first / LAMINA_KEY_BLOCK;
    for (; block + wide <= end; block += wide) {
        score_blocks(task, block, wide, queries);
    }
    for (; block < end; ++block) {
        score_blocks(task, block, 1, queries);
    }
    for (size_t query = 0; query < queries; ++query) {
        score_softmax(task, query);
    }
    const size_t vectors = ATTENTION_CHAINS / queries;
    size_t d = weigh_steps(task, 0, vectors, queries);
    d = weigh_steps(task, d, vectors / 2, queries);
    d = weigh_steps(task, d, 1, queries);
    for (size_t query = 0; query < queries; ++query) {
        weigh_rest(task, d, query);
    }
}

static void attend(const lamina_attention_task *task) {
    switch (task->queries) {
        case 4: return attend_queries(task, 4);
        case 3: return attend_queries(task, 3);
        case 2: return attend_queries(task, 2);
        default: return attend_queries(task, 1);
    }
}

#endif
