// The reference's key-value cache and attention.
#include "strict_floats.h"

#include "reference.h"

// ---- rounding -----------------------------------------------------------------------------------------------

// The nearest multiple of the f16 quantum there, from the definition; rint rounds ties to even.
static uint16_t f16_nearest(float value) {
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double magnitude = fabs((double)value);
    if (isnan(value)) {
        return sign | 0x7e00;
    }
    if (magnitude >= 65504) {
        return sign | 0x7bff;
    }
    int exponent = -14;
    while (exponent < 15 && magnitude >= ldexp(1, exponent + 1)) {
        exponent += 1;
    }
    // In units of 2^-10 of the power of two: 1024 more for each exponent above the least, whose own 1024 are implied.
    const double units = rint(ldexp(magnitude, 10 - exponent));
    return (uint16_t)(sign | ((exponent + 14) * 1024 + (int)units));
}

static uint16_t bf16_nearest(float value) {
    const uint32_t bits = lamina_float_bits(value);
    if (isnan(value)) {
        return (uint16_t)(bits >> 16 | 0x40);
    }
    const uint32_t lower = bits & 0xffff;
    const bool odd = bits >> 16 & 1;
    const bool up = lower > 0x8000 || (lower == 0x8000 && odd);
    return (uint16_t)((bits >> 16) + (up ? 1 : 0));
}

// ---- the cache ------------------------------------------------------------------------------------------------

// Element `index` of a block of `count` elements, whose scale, if it has one, is `scale_index`.
typedef struct element {
    size_t index;
    size_t count;
    size_t scale_index;
} element;

static element key_element(size_t head_dim, size_t lane, size_t d) {
    return (element){d * 16 + lane, 16 * head_dim, d / 32 * 16 + lane};
}

static element value_element(size_t value_dim, size_t lane, size_t d) {
    return (element){lane * value_dim + d, 16 * value_dim, lane * ((value_dim + 31) / 32) + d / 32};
}

static float load_element(lamina_kv_type type, const void *block, element at) {
    switch (type) {
    case LAMINA_KV_F32: return ((const float *)block)[at.index];
    case LAMINA_KV_F16: return lamina_float_from_f16(((const uint16_t *)block)[at.index]);
    case LAMINA_KV_BF16: return lamina_float_from_bf16(((const uint16_t *)block)[at.index]);
    default: {
        const int8_t *codes = block;
        const uint16_t *scales = (const uint16_t *)(const void *)(codes + at.count);
        return (float)codes[at.index] * lamina_float_from_f16(scales[at.scale_index]);
    }
    }
}

// Scale of the group of `source` that `d` lies in.
static uint16_t group_scale(const float *source, size_t dimension, size_t d) {
    float largest = 0;
    for (size_t i = d / 32 * 32; i < dimension && i < d / 32 * 32 + 32; ++i) {
        if (isnan(source[i])) {
            return 0x7e00;
        }
        largest = fmaxf(largest, fabsf(source[i]));
    }
    return f16_nearest(largest / 127.0f);
}

static int8_t code_of(float value, uint16_t scale) {
    if (scale == 0 || scale == 0x7e00) {
        return 0;
    }
    return (int8_t)rintf(fmaxf(-127, fminf(127, value / lamina_float_from_f16(scale))));
}

static void store_element(lamina_kv_type type, void *block, element at, const float *source, size_t dimension,
                          size_t d) {
    switch (type) {
    case LAMINA_KV_F32: ((float *)block)[at.index] = source[d]; break;
    case LAMINA_KV_F16: ((uint16_t *)block)[at.index] = f16_nearest(source[d]); break;
    case LAMINA_KV_BF16: ((uint16_t *)block)[at.index] = bf16_nearest(source[d]); break;
    default: {
        int8_t *codes = block;
        uint16_t *scales = (uint16_t *)(void *)(codes + at.count);
        scales[at.scale_index] = group_scale(source, dimension, d);
        codes[at.index] = code_of(source[d], scales[at.scale_index]);
    }
    }
}

void lamina_reference_store_key(lamina_kv_type type, void *block, size_t head_dim, size_t lane, const float *source) {
    for (size_t d = 0; d < head_dim; ++d) {
        store_element(type, block, key_element(head_dim, lane, d), source, head_dim, d);
    }
}

void lamina_reference_store_value(lamina_kv_type type, void *block, size_t value_dim, size_t lane,
                                  const float *source) {
    for (size_t d = 0; d < value_dim; ++d) {
        store_element(type, block, value_element(value_dim, lane, d), source, value_dim, d);
    }
}

// ---- attention ------------------------------------------------------------------------------------------------

static const void *block_of(const lamina_attention_task *task, const void *blocks, size_t dimension, size_t position) {
    const size_t place = position / 16 % task->ring_blocks;
    return (const uint8_t *)blocks + place * lamina_kv_block_bytes(task->type, dimension);
}

static float key_at(const lamina_attention_task *task, size_t position, size_t d) {
    const void *block = block_of(task, task->keys, task->head_dim, position);
    return load_element(task->type, block, key_element(task->head_dim, position % 16, d));
}

static float value_at(const lamina_attention_task *task, size_t position, size_t d) {
    const void *block = block_of(task, task->values, task->value_dim, position);
    return load_element(task->type, block, value_element(task->value_dim, position % 16, d));
}

static float score_at(const lamina_attention_task *task, size_t query, size_t position) {
    float score = 0;
    for (size_t d = 0; d < task->head_dim; ++d) {
        score = fmaf(task->query[query * task->query_stride + d], key_at(task, position, d), score);
    }
    score *= task->scale;
    if (task->softcap > 0) {
        score = task->softcap * lamina_tanhf(score / task->softcap);
    }
    if (task->slopes != NULL) {
        const float distance = (float)((int64_t)position - (int64_t)task->query_position);
        const float bias = task->slopes[query] * distance;
        score += bias;
    }
    return score;
}

static float output_at(const lamina_attention_task *task, const float *weights, size_t d) {
    float chains[16] = {0};
    for (size_t position = task->first; position < task->count; ++position) {
        const float weight = weights[position - task->first];
        if (task->values != NULL) {
            chains[0] = fmaf(weight, value_at(task, position, d), chains[0]);
        } else {
            chains[position % 16] = fmaf(weight, key_at(task, position, d), chains[position % 16]);
        }
    }
    return task->values != NULL ? chains[0] : lamina_reference_sum_of_16(chains);
}

static void attend_query(const lamina_attention_task *task, size_t query) {
    float *scores = task->scores + query * task->score_stride;
    const size_t count = task->count - task->first;
    float maximum = -INFINITY;
    for (size_t i = 0; i < count; ++i) {
        scores[i] = score_at(task, query, task->first + i);
        maximum = scores[i] > maximum ? scores[i] : maximum;
    }
    float sums[16] = {0};
    for (size_t i = 0; i < count; ++i) {
        scores[i] = lamina_expf(scores[i] - maximum);
        sums[(task->first + i) % 16] += scores[i];
    }
    const float inverse = 1.0f / lamina_reference_sum_of_16(sums);
    for (size_t i = 0; i < count; ++i) {
        scores[i] *= inverse;
    }
    for (size_t d = 0; d < task->value_dim; ++d) {
        task->output[query * task->output_stride + d] = output_at(task, scores, d);
    }
}

void lamina_reference_attend(const lamina_attention_task *task) {
    for (size_t query = 0; query < task->queries; ++query) {
        attend_query(task, query);
    }
}
