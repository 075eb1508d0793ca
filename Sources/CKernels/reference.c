// The slow, obvious version of every kernel: one element after the other, straight from the definitions in
// lamina_kernels.h. Nothing here is shared with the fast kernels except lamina_expf and the exact f16 conversion.
#include "strict_floats.h"

#include "internal.h"

static float weight_at(lamina_weight_type type, const void *panel, size_t width, size_t k, size_t row) {
    switch (type) {
    case LAMINA_WEIGHT_BF16: {
        const uint16_t *words = panel;
        return lamina_float_from_bf16(words[k / 2 * 2 * width + 2 * row + k % 2]);
    }
    case LAMINA_WEIGHT_F16: return lamina_float_from_f16(((const uint16_t *)panel)[k * width + row]);
    default: return ((const float *)panel)[k * width + row];
    }
}

static void multiply_panel(lamina_weight_type type, const lamina_panel_task *task) {
    for (size_t column = 0; column < task->columns; ++column) {
        for (size_t row = 0; row < task->rows; ++row) {
            float *y = &task->y[column * task->y_stride + row];
            float chain = 0;
            for (size_t k = 0; k < task->k_count; ++k) {
                const size_t absolute_k = task->k_begin + k;
                const float x = task->x[column * task->x_stride + absolute_k];
                chain = fmaf(weight_at(type, task->weights, task->width, k, row), x, chain);
                const bool chain_ends = (absolute_k + 1) % LAMINA_CHAIN_LENGTH == 0 || k + 1 == task->k_count;
                if (chain_ends) {
                    *y = absolute_k < LAMINA_CHAIN_LENGTH ? chain : *y + chain;
                    chain = 0;
                }
            }
        }
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

static void split_bf16(const uint16_t *weights, uint8_t *exponent, uint8_t *sign_mantissa, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const uint16_t rotated = (uint16_t)(weights[i] << 1 | weights[i] >> 15);
        exponent[i] = rotated >> 8;
        sign_mantissa[i] = rotated & 255;
    }
}

static void merge_bf16(const uint8_t *exponent, const uint8_t *sign_mantissa, uint16_t *weights, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const uint16_t rotated = (uint16_t)(exponent[i] << 8 | sign_mantissa[i]);
        weights[i] = (uint16_t)(rotated >> 1 | rotated << 15);
    }
}

static void split_f16(const uint16_t *weights, uint8_t *high, uint8_t *low, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        high[i] = weights[i] >> 8;
        low[i] = weights[i] & 255;
    }
}

static void merge_f16(const uint8_t *high, const uint8_t *low, uint16_t *weights, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        weights[i] = (uint16_t)(high[i] << 8 | low[i]);
    }
}

static void split_f32(const uint32_t *weights, uint8_t *const planes[4], size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const uint32_t rotated = weights[i] << 1 | weights[i] >> 31;
        for (int plane = 0; plane < 4; ++plane) {
            planes[plane][i] = rotated >> (24 - 8 * plane) & 255;
        }
    }
}

static void merge_f32(const uint8_t *const planes[4], uint32_t *weights, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        uint32_t rotated = 0;
        for (int plane = 0; plane < 4; ++plane) {
            rotated = rotated << 8 | planes[plane][i];
        }
        weights[i] = rotated >> 1 | rotated << 31;
    }
}

// k values stored for k_count of them.
static size_t stored_k(lamina_weight_type type, size_t k_count) {
    return type == LAMINA_WEIGHT_BF16 ? (k_count + 1) / 2 * 2 : k_count;
}

static size_t word_index(lamina_weight_type type, size_t width, size_t k, size_t row) {
    return type == LAMINA_WEIGHT_BF16 ? k / 2 * 2 * width + 2 * row + k % 2 : k * width + row;
}

static size_t word_size(lamina_weight_type type) {
    return type == LAMINA_WEIGHT_F32 ? 4 : 2;
}

static void pack_panel(lamina_weight_type type, const void *source, size_t row_stride, size_t rows, size_t width,
                       size_t k_count, void *panel) {
    const size_t size = word_size(type);
    memset(panel, 0, stored_k(type, k_count) * width * size);
    for (size_t row = 0; row < rows; ++row) {
        for (size_t k = 0; k < k_count; ++k) {
            memcpy((uint8_t *)panel + word_index(type, width, k, row) * size,
                   (const uint8_t *)source + (row * row_stride + k) * size, size);
        }
    }
}

static void unpack_panel(lamina_weight_type type, const void *panel, size_t width, size_t rows, size_t k_count,
                         void *target, size_t row_stride) {
    const size_t size = word_size(type);
    for (size_t row = 0; row < rows; ++row) {
        for (size_t k = 0; k < k_count; ++k) {
            memcpy((uint8_t *)target + (row * row_stride + k) * size,
                   (const uint8_t *)panel + word_index(type, width, k, row) * size, size);
        }
    }
}

#define PACKING(name, type)                                                                                         \
    static void pack_panel_##name(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count, \
                                  void *panel) {                                                                    \
        pack_panel(type, source, row_stride, rows, width, k_count, panel);                                          \
    }                                                                                                               \
    static void unpack_panel_##name(const void *panel, size_t width, size_t rows, size_t k_count, void *target,     \
                                    size_t row_stride) {                                                            \
        unpack_panel(type, panel, width, rows, k_count, target, row_stride);                                        \
    }

PACKING(bf16, LAMINA_WEIGHT_BF16)
PACKING(f16, LAMINA_WEIGHT_F16)
PACKING(f32, LAMINA_WEIGHT_F32)

static void widen_bf16(const void *source, float *target, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        target[i] = lamina_float_from_bf16(((const uint16_t *)source)[i]);
    }
}

static void widen_f16(const void *source, float *target, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        target[i] = lamina_float_from_f16(((const uint16_t *)source)[i]);
    }
}

static void widen_f32(const void *source, float *target, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        target[i] = ((const float *)source)[i];
    }
}

static float sum_of_16(float *sums) {
    for (size_t i = 0; i < 8; ++i) sums[i] += sums[i + 8];
    for (size_t i = 0; i < 4; ++i) sums[i] += sums[i + 4];
    for (size_t i = 0; i < 2; ++i) sums[i] += sums[i + 2];
    return sums[0] + sums[1];
}

static void rms_norm(const float *x, const float *weight, float epsilon, float *out, size_t count) {
    float sums[16] = {0};
    for (size_t i = 0; i < count; ++i) {
        const float square = x[i] * x[i];
        sums[i % 16] += square;
    }
    const float scale = 1.0f / sqrtf(sum_of_16(sums) / (float)count + epsilon);
    for (size_t i = 0; i < count; ++i) {
        out[i] = x[i] * scale * weight[i];
    }
}

static void add(const float *x, float *out, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        out[i] += x[i];
    }
}

static void silu_multiply(float *gate, const float *up, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        gate[i] = gate[i] / (1.0f + lamina_expf(-gate[i])) * up[i];
    }
}

static void rope_half(float *head, const float *cosine, const float *sine, size_t rotary) {
    const size_t half = rotary / 2;
    for (size_t i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
    }
}

static float score_at(const lamina_attention_task *task, const float *query, size_t position) {
    float chain = 0;
    for (size_t d = 0; d < task->head_dim; ++d) {
        const size_t block = position / LAMINA_KEY_BLOCK;
        const size_t lane = position % LAMINA_KEY_BLOCK;
        chain = fmaf(query[d], task->keys[(block * task->head_dim + d) * LAMINA_KEY_BLOCK + lane], chain);
    }
    return chain * task->scale;
}

static void attend_query(const lamina_attention_task *task, const float *query, float *scores, float *output) {
    float maximum = -INFINITY;
    for (size_t position = task->first; position < task->count; ++position) {
        scores[position] = score_at(task, query, position);
        maximum = scores[position] > maximum ? scores[position] : maximum;
    }
    float sums[16] = {0};
    for (size_t position = task->first; position < task->count; ++position) {
        scores[position] = lamina_expf(scores[position] - maximum);
        sums[position % 16] += scores[position];
    }
    const float inverse = 1.0f / sum_of_16(sums);
    for (size_t d = 0; d < task->head_dim; ++d) {
        float chain = 0;
        for (size_t position = task->first; position < task->count; ++position) {
            const float weight = scores[position] * inverse;
            chain = fmaf(weight, task->values[position * task->head_dim + d], chain);
        }
        output[d] = chain;
    }
}

static void attend(const lamina_attention_task *task) {
    for (size_t query = 0; query < task->queries; ++query) {
        attend_query(task, task->query + query * task->head_dim, task->scores + query * task->score_stride,
                     task->output + query * task->head_dim);
    }
}

static const lamina_kernels reference = {
    .isa = LAMINA_ISA_PORTABLE,
    .multiply_panel = {multiply_panel_bf16, multiply_panel_f16, multiply_panel_f32},
    .split_bf16 = split_bf16,
    .merge_bf16 = merge_bf16,
    .split_f16 = split_f16,
    .merge_f16 = merge_f16,
    .split_f32 = split_f32,
    .merge_f32 = merge_f32,
    .pack_panel = {pack_panel_bf16, pack_panel_f16, pack_panel_f32},
    .unpack_panel = {unpack_panel_bf16, unpack_panel_f16, unpack_panel_f32},
    .encode_tier = lamina_reference_encode_tier,
    .decode_tier = lamina_reference_decode_tier,
    .multiply_tier_panel = lamina_reference_multiply_tier_panel,
    .widen = {widen_bf16, widen_f16, widen_f32},
    .rms_norm = rms_norm,
    .add = add,
    .silu_multiply = silu_multiply,
    .rope_half = rope_half,
    .attend = attend,
};

const lamina_kernels *lamina_kernels_reference(void) {
    return &reference;
}
