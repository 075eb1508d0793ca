// Scores of queries that share one KV head's keys, and their weights.
#ifndef LAMINA_ATTENTION_SCORES_H
#define LAMINA_ATTENTION_SCORES_H

#include "elementwise.h"
#include "kv_layout.h"

enum {
    BLOCK_VECTORS = LAMINA_KV_BLOCK / VECTOR_LANES,
    // Blocks at once for one query. A chain waits for its own fma, so the chains of a single block leave units idle; but
    // several blocks are as many streams, which memory serves slower than one.
    SCORE_BLOCKS = BLOCK_VECTORS < 8 ? 8 / BLOCK_VECTORS : 1,
};

typedef vector score_sums[LAMINA_ATTENTION_QUERIES][SCORE_BLOCKS][BLOCK_VECTORS];

// Dimension `d` of `count` blocks with every query.
LAMINA_INLINE void score_dimension(lamina_kv_type type, const lamina_attention_task *task, size_t queries,
                                   const uint8_t *const *blocks, size_t count, size_t d,
                                   vector scales[SCORE_BLOCKS][BLOCK_VECTORS], score_sums sums) {
    LAMINA_UNROLL
    for (size_t b = 0; b < count; ++b) {
        LAMINA_UNROLL
        for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
            const vector key = load_kv(type, blocks[b], d * LAMINA_KV_BLOCK + v * VECTOR_LANES, scales[b][v]);
            LAMINA_UNROLL
            for (size_t q = 0; q < queries; ++q) {
                const vector query = vector_set(task->query[q * task->query_stride + d]);
                sums[q][b][v] = vector_fma(query, key, sums[q][b][v]);
            }
        }
    }
}

LAMINA_INLINE void load_key_scales(const lamina_attention_task *task, const uint8_t *const *blocks, size_t count,
                                   size_t group, vector scales[SCORE_BLOCKS][BLOCK_VECTORS]) {
    LAMINA_UNROLL
    for (size_t b = 0; b < count; ++b) {
        const uint16_t *source = kv_scales(blocks[b], task->head_dim) + group * LAMINA_KV_BLOCK;
        LAMINA_UNROLL
        for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
            scales[b][v] = vector_load_f16(source + v * VECTOR_LANES);
        }
    }
}

// Scores of `queries` queries with `count` blocks, to `scores` of the first query.
LAMINA_INLINE void score_blocks(lamina_kv_type type, const lamina_attention_task *task, size_t queries,
                                const uint8_t *const *blocks, size_t count, float *scores) {
    score_sums sums;
    vector scales[SCORE_BLOCKS][BLOCK_VECTORS];
    LAMINA_UNROLL
    for (size_t b = 0; b < count; ++b) {
        LAMINA_UNROLL
        for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
            scales[b][v] = vector_set(0);
            LAMINA_UNROLL
            for (size_t q = 0; q < queries; ++q) {
                sums[q][b][v] = vector_set(0);
            }
        }
    }
    const size_t group_size = type == LAMINA_KV_Q8 ? LAMINA_KV_GROUP : task->head_dim;
    for (size_t start = 0; start < task->head_dim; start += group_size) {
        if (type == LAMINA_KV_Q8) {
            load_key_scales(task, blocks, count, start / LAMINA_KV_GROUP, scales);
        }
        const size_t end = LAMINA_MIN(start + group_size, task->head_dim);
        for (size_t d = start; d < end; ++d) {
            score_dimension(type, task, queries, blocks, count, d, scales, sums);
        }
    }
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t b = 0; b < count; ++b) {
            float *target = scores + q * task->score_stride + b * LAMINA_KV_BLOCK;
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                vector_store(target + v * VECTOR_LANES, vector_mul(sums[q][b][v], vector_set(task->scale)));
            }
        }
    }
}

// Scores of the blocks of first..<count, [queries][score_stride] from the first touched block on.
LAMINA_INLINE void score_span(lamina_kv_type type, const lamina_attention_task *task, size_t queries) {
    const size_t block_bytes = kv_block_bytes(type, task->head_dim);
    const kv_span span = kv_span_of(task);
    const size_t most = queries <= 2 && SCORE_BLOCKS > queries ? SCORE_BLOCKS / queries : 1;
    const size_t wide = (span.end - span.first) * block_bytes <= KV_CACHED_BYTES ? most : 1;
    size_t place = span.first % task->ring_blocks;
    float *scores = task->scores;
    for (size_t left = span.end - span.first; left > 0;) {
        const uint8_t *blocks[SCORE_BLOCKS];
        const size_t count = left >= wide ? wide : 1;
        for (size_t b = 0; b < count; ++b) {
            blocks[b] = (const uint8_t *)task->keys + place * block_bytes;
            place = kv_next_place(task, place);
        }
        if (count == most) {
            score_blocks(type, task, queries, blocks, most, scores);
        } else {
            score_blocks(type, task, queries, blocks, 1, scores);
        }
        scores += count * LAMINA_KV_BLOCK;
        left -= count;
    }
}

// `distance` is the first position's from the query, negative before it; `count` is a multiple of 16.
static void add_slope(float *scores, size_t count, float slope, int32_t distance) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        LAMINA_EACH_LANE scores[start + i] += slope * (float)(distance + (int32_t)(start + i));
    }
}

// Scores to weights, in place; `count` is a multiple of 16 and a position outside the window scores -inf.
static void softmax(float *scores, size_t count) {
    lamina_lanes maximum;
    LAMINA_EACH_LANE maximum.lane[i] = -INFINITY;
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(scores + start, LAMINA_LANES);
        LAMINA_EACH_LANE maximum.lane[i] = block.lane[i] > maximum.lane[i] ? block.lane[i] : maximum.lane[i];
    }
    float largest = maximum.lane[0];
    LAMINA_EACH_LANE largest = maximum.lane[i] > largest ? maximum.lane[i] : largest;

    lamina_lanes sums = {{0}};
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(scores + start, LAMINA_LANES);
        LAMINA_EACH_LANE {
            block.lane[i] = lamina_exp_f32(block.lane[i] - largest);
            sums.lane[i] += block.lane[i];
        }
        lamina_lanes_store(&block, scores + start, LAMINA_LANES);
    }
    const float inverse = 1.0f / lamina_lanes_sum(sums);
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(scores + start, LAMINA_LANES);
        LAMINA_EACH_LANE block.lane[i] *= inverse;
        lamina_lanes_store(&block, scores + start, LAMINA_LANES);
    }
}

// Modifies the scores of one query and turns them into weights.
static void weights_from_scores(const lamina_attention_task *task, size_t query) {
    const kv_span span = kv_span_of(task);
    const size_t start = span.first * LAMINA_KV_BLOCK;
    const size_t count = span.end * LAMINA_KV_BLOCK - start;
    float *scores = task->scores + query * task->score_stride;
    if (task->softcap > 0) {
        softcap(scores, task->softcap, count);
    }
    if (task->slopes != NULL) {
        add_slope(scores, count, task->slopes[query], (int32_t)((int64_t)start - (int64_t)task->query_position));
    }
    // The cache outside the window may never have been written: whatever was computed from it is replaced.
    for (size_t i = 0; i < task->first - start; ++i) {
        scores[i] = -INFINITY;
    }
    for (size_t i = task->count - start; i < count; ++i) {
        scores[i] = -INFINITY;
    }
    softmax(scores, count);
}

#endif
