// Attention whose values are the beginnings of its keys (multi-head latent attention keeps one vector per position):
// lanes are positions here, so each output has 16 chains, one for every position modulo 16.
#ifndef LAMINA_ATTENTION_LATENT_H
#define LAMINA_ATTENTION_LATENT_H

#include "attention_scores.h"

enum {
    // Dimensions at once for one query, each a chain in every lane.
    LATENT_DIMENSIONS = (int)ATTENTION_CHAINS > (int)BLOCK_VECTORS ? (int)ATTENTION_CHAINS / (int)BLOCK_VECTORS : 1,
};

typedef vector latent_sums[LAMINA_ATTENTION_QUERIES][LATENT_DIMENSIONS][BLOCK_VECTORS];
// [queries][dimensions][16], every vector of a block done.
typedef lamina_lanes latent_chains[LAMINA_ATTENTION_QUERIES][LATENT_DIMENSIONS];

// Lanes from..<to of a block that is not attended to as a whole: the other lanes may hold anything.
LAMINA_INLINE void weigh_latent_edge(lamina_kv_type type, const lamina_attention_task *task, size_t queries,
                                     const uint8_t *keys, const float *weights, kv_lanes lanes, size_t d,
                                     size_t dimensions, latent_chains chains) {
    const uint16_t *scales = kv_scales(keys, task->head_dim) + d / LAMINA_KV_GROUP * LAMINA_KV_BLOCK;
    for (size_t step = 0; step < dimensions; ++step) {
        lamina_lanes key;
        for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
            const vector scale = type == LAMINA_KV_Q8 ? vector_load_f16(scales + v * VECTOR_LANES) : vector_set(0);
            const size_t element = (d + step) * LAMINA_KV_BLOCK + v * VECTOR_LANES;
            vector_store(key.lane + v * VECTOR_LANES, load_kv(type, keys, element, scale));
        }
        for (size_t q = 0; q < queries; ++q) {
            const lamina_lanes weight = lamina_lanes_load(weights + q * task->score_stride, LAMINA_KV_BLOCK);
            lamina_lanes sums = chains[q][step];
            LAMINA_EACH_LANE {
                const float sum = fmaf(weight.lane[i], key.lane[i], sums.lane[i]);
                sums.lane[i] = i >= lanes.from && i < lanes.to ? sum : sums.lane[i];
            }
            chains[q][step] = sums;
        }
    }
}

// Dimensions from `d` on of one whole block; a group of Q8 holds all of them.
LAMINA_INLINE void weigh_latent_block(lamina_kv_type type, const lamina_attention_task *task, size_t queries,
                                      const float *weights, const uint8_t *keys, size_t d, size_t dimensions,
                                      latent_sums sums) {
    const uint16_t *scales = kv_scales(keys, task->head_dim) + d / LAMINA_KV_GROUP * LAMINA_KV_BLOCK;
    LAMINA_UNROLL
    for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
        const size_t lane = v * VECTOR_LANES;
        const vector scale = type == LAMINA_KV_Q8 ? vector_load_f16(scales + lane) : vector_set(0);
        LAMINA_UNROLL
        for (size_t step = 0; step < dimensions; ++step) {
            const vector key = load_kv(type, keys, (d + step) * LAMINA_KV_BLOCK + lane, scale);
            LAMINA_UNROLL
            for (size_t q = 0; q < queries; ++q) {
                const vector weight = vector_load(weights + q * task->score_stride + lane);
                sums[q][step][v] = vector_fma(weight, key, sums[q][step][v]);
            }
        }
    }
}

// `blocks` whole blocks from `place` on.
LAMINA_INLINE void weigh_latent_blocks(lamina_kv_type type, const lamina_attention_task *task, size_t queries,
                                       const float *weights, size_t place, size_t blocks, size_t d, size_t dimensions,
                                       latent_chains chains) {
    latent_sums sums;
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t step = 0; step < dimensions; ++step) {
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                sums[q][step][v] = vector_load(chains[q][step].lane + v * VECTOR_LANES);
            }
        }
    }
    const size_t block_bytes = kv_block_bytes(type, task->head_dim);
    for (; blocks > 0; --blocks) {
        const uint8_t *keys = (const uint8_t *)task->keys + place * block_bytes;
        weigh_latent_block(type, task, queries, weights, keys, d, dimensions, sums);
        weights += LAMINA_KV_BLOCK;
        place = kv_next_place(task, place);
    }
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t step = 0; step < dimensions; ++step) {
            LAMINA_UNROLL
            for (size_t v = 0; v < BLOCK_VECTORS; ++v) {
                vector_store(chains[q][step].lane + v * VECTOR_LANES, sums[q][step][v]);
            }
        }
    }
}

LAMINA_INLINE bool kv_lanes_are_all(kv_lanes lanes) {
    return lanes.from == 0 && lanes.to == LAMINA_KV_BLOCK;
}

// output[.., d ..] for `dimensions` of them.
LAMINA_INLINE void weigh_latent(lamina_kv_type type, const lamina_attention_task *task, size_t queries, size_t d,
                                size_t dimensions) {
    latent_chains chains;
    for (size_t q = 0; q < queries; ++q) {
        memset(chains[q], 0, dimensions * sizeof chains[q][0]);
    }
    const uint8_t *keys = task->keys;
    const size_t block_bytes = kv_block_bytes(type, task->head_dim);
    kv_span whole = kv_span_of(task);
    size_t place = whole.first % task->ring_blocks;
    const float *weights = task->scores;
    const kv_lanes first = kv_lanes_of(task, whole.first);
    if (!kv_lanes_are_all(first)) {
        weigh_latent_edge(type, task, queries, keys + place * block_bytes, weights, first, d, dimensions, chains);
        weights += LAMINA_KV_BLOCK;
        place = kv_next_place(task, place);
        whole.first += 1;
    }
    const kv_lanes last = kv_lanes_of(task, whole.end - 1);
    const bool ends_inside = whole.first < whole.end && !kv_lanes_are_all(last);
    const size_t blocks = whole.end - whole.first - (ends_inside ? 1 : 0);
    weigh_latent_blocks(type, task, queries, weights, place, blocks, d, dimensions, chains);
    if (ends_inside) {
        weights += blocks * LAMINA_KV_BLOCK;
        place = (whole.end - 1) % task->ring_blocks;
        weigh_latent_edge(type, task, queries, keys + place * block_bytes, weights, last, d, dimensions, chains);
    }
    for (size_t q = 0; q < queries; ++q) {
        for (size_t step = 0; step < dimensions; ++step) {
            task->output[q * task->output_stride + d + step] = lamina_lanes_sum(chains[q][step]);
        }
    }
}

LAMINA_INLINE void weigh_all_latents(lamina_kv_type type, const lamina_attention_task *task, size_t queries) {
    const size_t fitting = LATENT_DIMENSIONS / (queries == 3 ? 4 : queries);
    const size_t dimensions = fitting > 0 ? fitting : 1;
    size_t d = 0;
    for (; d + dimensions <= task->value_dim; d += dimensions) {
        weigh_latent(type, task, queries, d, dimensions);
    }
    for (; d < task->value_dim; ++d) {
        weigh_latent(type, task, queries, d, 1);
    }
}

#endif
