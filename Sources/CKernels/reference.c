// The slow, obvious version of every kernel: one element after the other, straight from the definitions in
// lamina_kernels.h. Nothing of the reference is shared with the fast kernels except lamina_expf, lamina_tanhf,
// lamina_erff and the exact f16 conversion.
#include "strict_floats.h"

#include "reference.h"

static float e4m3_value(uint8_t code) {
    const int exponent = code >> 3 & 15;
    const int mantissa = code & 7;
    if (exponent == 15 && mantissa == 7) {
        return NAN;
    }
    const double magnitude = exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
    return (float)(code & 0x80 ? -magnitude : magnitude);
}

static float e5m2_value(uint8_t code) {
    const int exponent = code >> 2 & 31;
    const int mantissa = code & 3;
    if (exponent == 31 && mantissa != 0) {
        return NAN;
    }
    const double finite = exponent == 0 ? ldexp(mantissa, -16) : ldexp(4 + mantissa, exponent - 17);
    const double magnitude = exponent == 31 ? INFINITY : finite;
    return (float)(code & 0x80 ? -magnitude : magnitude);
}

// k values stored for k_count of them.
static size_t stored_k(lamina_weight_type type, size_t k_count) {
    return type == LAMINA_WEIGHT_BF16 ? (k_count + 1) / 2 * 2 : k_count;
}

static size_t word_index(lamina_weight_type type, size_t width, size_t k, size_t row) {
    return type == LAMINA_WEIGHT_BF16 ? k / 2 * 2 * width + 2 * row + k % 2 : k * width + row;
}

static size_t word_size(lamina_weight_type type) {
    switch (type) {
    case LAMINA_WEIGHT_F32: return 4;
    case LAMINA_WEIGHT_BF16:
    case LAMINA_WEIGHT_F16: return 2;
    default: return 1;
    }
}

static float weight_at(lamina_weight_type type, const void *panel, size_t width, size_t k, size_t row) {
    const size_t index = word_index(type, width, k, row);
    switch (type) {
    case LAMINA_WEIGHT_BF16: return lamina_float_from_bf16(((const uint16_t *)panel)[index]);
    case LAMINA_WEIGHT_F16: return lamina_float_from_f16(((const uint16_t *)panel)[index]);
    case LAMINA_WEIGHT_F32: return ((const float *)panel)[index];
    case LAMINA_WEIGHT_E4M3: return e4m3_value(((const uint8_t *)panel)[index]);
    default: return e5m2_value(((const uint8_t *)panel)[index]);
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
PACKING(e4m3, LAMINA_WEIGHT_E4M3)
PACKING(e5m2, LAMINA_WEIGHT_E5M2)

static void panel_rows(lamina_weight_type type, const void *panel, size_t width, size_t row_begin, size_t row_count,
                       size_t k_count, float *out, size_t out_stride) {
    for (size_t row = 0; row < row_count; ++row) {
        for (size_t k = 0; k < k_count; ++k) {
            out[row * out_stride + k] = weight_at(type, panel, width, k, row_begin + row);
        }
    }
}

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

static void widen_f8(lamina_weight_type type, const uint8_t *source, float scale, float *target, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        target[i] = (type == LAMINA_WEIGHT_E4M3 ? e4m3_value(source[i]) : e5m2_value(source[i])) * scale;
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
    .pack_panel = {pack_panel_bf16, pack_panel_f16, pack_panel_f32, pack_panel_e4m3, pack_panel_e5m2},
    .unpack_panel = {unpack_panel_bf16, unpack_panel_f16, unpack_panel_f32, unpack_panel_e4m3, unpack_panel_e5m2},
    .panel_rows = panel_rows,
    .encode_tier = lamina_reference_encode_tier,
    .decode_tier = lamina_reference_decode_tier,
    .multiply_tier_panel = lamina_reference_multiply_tier_panel,
    .widen = {widen_bf16, widen_f16, widen_f32},
    .widen_f8 = widen_f8,
    .rms_norm = lamina_reference_rms_norm,
    .layer_norm = lamina_reference_layer_norm,
    .activate = lamina_reference_activate,
    .activate_multiply = lamina_reference_activate_multiply,
    .add = lamina_reference_add,
    .add_scaled = lamina_reference_add_scaled,
    .scale = lamina_reference_scale,
    .softcap = lamina_reference_softcap,
    .rope_half = lamina_reference_rope_half,
    .rope_pairs = lamina_reference_rope_pairs,
    .store_key = lamina_reference_store_key,
    .store_value = lamina_reference_store_value,
    .attend = lamina_reference_attend,
    .quantize_activations = lamina_reference_quantize_activations,
    .multiply_quantized = {lamina_reference_multiply_quantized_row8, lamina_reference_multiply_quantized_q8,
                           lamina_reference_multiply_quantized_q4},
    .dequantize_panel = {lamina_reference_dequantize_panel_row8, lamina_reference_dequantize_panel_q8,
                         lamina_reference_dequantize_panel_q4, lamina_reference_dequantize_panel_nf4,
                         lamina_reference_dequantize_panel_nf4_double,
                         lamina_reference_dequantize_panel_int8_dynamic},
    .multiply_dequantized = {lamina_reference_multiply_dequantized_row8, lamina_reference_multiply_dequantized_q8,
                             lamina_reference_multiply_dequantized_q4, lamina_reference_multiply_dequantized_nf4,
                             lamina_reference_multiply_dequantized_nf4_double,
                             lamina_reference_multiply_dequantized_int8_dynamic},
    .narrow_panel = lamina_reference_narrow_panel,
    .restore_panel = lamina_reference_restore_panel,
    .multiply_narrow = lamina_reference_multiply_narrow,
    .row_statistics = lamina_reference_row_statistics,
    .flat_maxima = lamina_reference_flat_maxima,
    .quantize_panel = {lamina_reference_quantize_panel_row8, lamina_reference_quantize_panel_q8,
                       lamina_reference_quantize_panel_q4, lamina_reference_quantize_panel_nf4,
                       lamina_reference_quantize_panel_nf4_double, lamina_reference_quantize_panel_int8_dynamic},
    .add_panel_errors = lamina_reference_add_panel_errors,
    .encode_codes = lamina_reference_encode_codes,
    .decode_codes = lamina_reference_decode_codes,
};

const lamina_kernels *lamina_kernels_reference(void) {
    return &reference;
}
