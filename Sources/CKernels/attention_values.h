// Values weighed and summed: lanes are dimensions, so each output is one chain over the positions.
#ifndef LAMINA_ATTENTION_VALUES_H
#define LAMINA_ATTENTION_VALUES_H

#include "kv_layout.h"

enum {
    // Scales of Q8 in a step of the most vectors.
    STEP_SCALES = (ATTENTION_CHAINS * VECTOR_LANES + LAMINA_KV_GROUP - 1) / LAMINA_KV_GROUP,
};

typedef vector value_sums[LAMINA_ATTENTION_QUERIES][ATTENTION_CHAINS];

// One position's dimensions from `d` on, `row` its elements and `weights` the first query's weight of it. A step is a
// part of a group of Q8 or begins with one.
LAMINA_INLINE void weigh_position(lamina_kv_type type, const lamina_attention_task *task, size_t queries,
                                  const uint8_t *row, const uint16_t *row_scales, const float *weights, size_t d,
                                  size_t vectors, value_sums sums) {
    const size_t scale_count = type == LAMINA_KV_Q8 ? (vectors * VECTOR_LANES - 1) / LAMINA_KV_GROUP + 1 : 0;
    vector scales[STEP_SCALES];
    for (size_t group = 0; group < scale_count; ++group) {
        scales[group] = vector_set_f16(row_scales + d / LAMINA_KV_GROUP + group);
    }
    vector factors[LAMINA_ATTENTION_QUERIES];
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        factors[q] = vector_set(weights[q * task->score_stride]);
    }
    LAMINA_UNROLL
    for (size_t v = 0; v < vectors; ++v) {
        const vector scale = type == LAMINA_KV_Q8 ? scales[v * VECTOR_LANES / LAMINA_KV_GROUP] : vector_set(0);
        const vector value = load_kv(type, row, d + v * VECTOR_LANES, scale);
        LAMINA_UNROLL
        for (size_t q = 0; q < queries; ++q) {
            sums[q][v] = vector_fma(factors[q], value, sums[q][v]);
        }
    }
}

// Some positions of first..<count, one behind the other.
typedef struct value_run {
    size_t begin;
    size_t end;
    bool begins;   // no position before them is attended to
    bool fetches;  // the first step over the run asks for what the others are going to read
} value_run;

// Rows of a run that lie one behind the other.
typedef struct value_rows {
    const uint8_t *elements;
    const uint16_t *scales;
    size_t count;
} value_rows;

// Without scales and padding between the blocks, rows go on to the end of the ring; `place` is that of the block of
// `position`.
LAMINA_INLINE value_rows value_rows_at(lamina_kv_type type, const lamina_attention_task *task, size_t position,
                                       size_t place, size_t end) {
    const size_t row_bytes = task->value_dim * kv_element_bytes(type);
    const size_t block_bytes = kv_block_bytes(type, task->value_dim);
    const uint8_t *block = (const uint8_t *)task->values + place * block_bytes;
    const size_t lane = position % LAMINA_KV_BLOCK;
    const bool goes_on = block_bytes == LAMINA_KV_BLOCK * row_bytes;
    const size_t left = (goes_on ? (task->ring_blocks - place) * LAMINA_KV_BLOCK : LAMINA_KV_BLOCK) - lane;
    return (value_rows){
        .elements = block + lane * row_bytes,
        .scales = kv_scales(block, task->value_dim) + lane * kv_groups(task->value_dim),
        .count = LAMINA_MIN(left, end - position),
    };
}

LAMINA_INLINE void prefetch_bytes(const uint8_t *start, size_t from, size_t to) {
    for (size_t byte = from; byte < to; byte += 64) {
        __builtin_prefetch(start + byte);
    }
}

// output[.., d ..] for `vectors` vectors, over a run.
LAMINA_INLINE void weigh_values(lamina_kv_type type, const lamina_attention_task *task, size_t queries, value_run run,
                                size_t d, size_t vectors) {
    value_sums sums;
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            const float *before = task->output + q * task->output_stride + d + v * VECTOR_LANES;
            sums[q][v] = run.begins ? vector_set(0) : vector_load(before);
        }
    }
    const size_t row_bytes = task->value_dim * kv_element_bytes(type);
    const float *weights = task->scores + (run.begin - kv_span_of(task).first * LAMINA_KV_BLOCK);
    size_t place = run.begin / LAMINA_KV_BLOCK % task->ring_blocks;
    for (size_t position = run.begin; position < run.end;) {
        value_rows rows = value_rows_at(type, task, position, place, run.end);
        position += rows.count;
        for (; rows.count > 0; --rows.count) {
            if (run.fetches && d == 0) {
                prefetch_bytes(rows.elements, vectors * VECTOR_LANES * kv_element_bytes(type), row_bytes);
            }
            weigh_position(type, task, queries, rows.elements, rows.scales, weights, d, vectors, sums);
            rows.elements += row_bytes;
            rows.scales += kv_groups(task->value_dim);
            weights += 1;
        }
        // Rows that went on ended with the ring or the run.
        place = kv_block_bytes(type, task->value_dim) == LAMINA_KV_BLOCK * row_bytes ? 0 : kv_next_place(task, place);
    }
    LAMINA_UNROLL
    for (size_t q = 0; q < queries; ++q) {
        LAMINA_UNROLL
        for (size_t v = 0; v < vectors; ++v) {
            vector_store(task->output + q * task->output_stride + d + v * VECTOR_LANES, sums[q][v]);
        }
    }
}

// The dimensions from `d` on that fill steps of `vectors` vectors; returns the first that is left.
LAMINA_INLINE size_t weigh_steps(lamina_kv_type type, const lamina_attention_task *task, size_t queries, value_run run,
                                 size_t d, size_t vectors) {
    for (; d + vectors * VECTOR_LANES <= task->value_dim; d += vectors * VECTOR_LANES) {
        weigh_values(type, task, queries, run, d, vectors);
    }
    return d;
}

static float value_of_row(lamina_kv_type type, const uint8_t *row, const uint16_t *scales, size_t d) {
    switch (type) {
    case LAMINA_KV_F32: return ((const float *)(const void *)row)[d];
    case LAMINA_KV_F16: return lamina_float_from_f16(((const uint16_t *)(const void *)row)[d]);
    case LAMINA_KV_BF16: return lamina_float_from_bf16(((const uint16_t *)(const void *)row)[d]);
    default: return (float)((const int8_t *)row)[d] * lamina_float_from_f16(scales[d / LAMINA_KV_GROUP]);
    }
}

// The dimensions from `d` on, which fill no vector.
static void weigh_rest(const lamina_attention_task *task, size_t query, value_run run, size_t d) {
    const float *weights = task->scores + query * task->score_stride - kv_span_of(task).first * LAMINA_KV_BLOCK;
    float *output = task->output + query * task->output_stride;
    for (; d < task->value_dim; ++d) {
        float sum = run.begins ? 0 : output[d];
        for (size_t position = run.begin; position < run.end; ++position) {
            const size_t place = position / LAMINA_KV_BLOCK % task->ring_blocks;
            const value_rows row = value_rows_at(task->type, task, position, place, run.end);
            sum = fmaf(weights[position], value_of_row(task->type, row.elements, row.scales, d), sum);
        }
        output[d] = sum;
    }
}

LAMINA_INLINE void weigh_run(lamina_kv_type type, const lamina_attention_task *task, size_t queries, value_run run,
                             size_t most) {
    size_t d = weigh_steps(type, task, queries, run, 0, most);
    if (most > 4) {
        d = weigh_steps(type, task, queries, run, d, 4);
    }
    if (most > 2) {
        d = weigh_steps(type, task, queries, run, d, 2);
    }
    d = weigh_steps(type, task, queries, run, d, 1);
    for (size_t query = 0; query < queries; ++query) {
        weigh_rest(task, query, run, d);
    }
}

LAMINA_INLINE void weigh_all_values(lamina_kv_type type, const lamina_attention_task *task, size_t queries) {
    const size_t chains = ATTENTION_CHAINS / (queries == 3 ? 4 : queries);
    const size_t most = chains > 8 ? 8 : chains;
    const size_t row_bytes = task->value_dim * kv_element_bytes(type);
    // Steps that read a part of each row go over what still is in a cache since the first of them.
    const bool one_step = task->value_dim <= most * VECTOR_LANES;
    const bool fetches = !one_step && (task->count - task->first) * row_bytes > KV_CACHED_BYTES;
    const size_t positions = fetches ? KV_CACHED_BYTES / 2 / row_bytes + 1 : task->count - task->first;
    for (size_t begin = task->first; begin < task->count; begin += positions) {
        const size_t end = LAMINA_MIN(begin + positions, task->count);
        const value_run run = {.begin = begin, .end = end, .begins = begin == task->first, .fetches = fetches};
        weigh_run(type, task, queries, run, most);
    }
}

#endif
