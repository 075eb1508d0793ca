// The reference's quantized weights: every weight by its definition, one at a time.
#include "strict_floats.h"

#include "quantized_layout.h"
#include "reference.h"

// ---- weights ------------------------------------------------------------------------------------------------

static uint8_t code_byte(const uint8_t *codes, size_t k, size_t row) {
    return codes[k / 4 * 64 + 4 * row + k % 4];
}

static uint8_t code_nibble(const uint8_t *codes, size_t k, size_t row) {
    const uint8_t byte = codes[k / 8 * 64 + 4 * row + k % 4];
    return k / 4 % 2 == 0 ? byte & 15 : byte >> 4;
}

static float float_at(const uint8_t *bytes, size_t index) {
    float value;
    memcpy(&value, bytes + index * sizeof value, sizeof value);
    return value;
}

static uint16_t word_at(const uint8_t *bytes, size_t index) {
    uint16_t value;
    memcpy(&value, bytes + index * sizeof value, sizeof value);
    return value;
}

// The code of ROW8, Q8 or Q4 as the number that is multiplied; an escape's is -128.
static int32_t integer_weight(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k, size_t row) {
    const uint8_t *bytes = panel->bytes;
    if (scheme == LAMINA_SCHEME_ROW8) {
        return code_byte(bytes + ROW8_HEADER, k, row) - 128;
    }
    const quantized_chain_place chain = chain_place(scheme, panel->columns, k);
    const uint8_t *codes = bytes + chain.offset + chain_layout(scheme, chain.k_count).codes;
    return scheme == LAMINA_SCHEME_Q8 ? code_byte(codes, k - chain.k, row) - 128
                                      : lamina_q4_codebook[code_nibble(codes, k - chain.k, row)];
}

static float chain_super(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k, size_t row) {
    const uint8_t *bytes = panel->bytes;
    return float_at(bytes + chain_place(scheme, panel->columns, k).offset, row);
}

static int8_t chain_scale(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k, size_t row) {
    const quantized_chain_place chain = chain_place(scheme, panel->columns, k);
    const uint8_t *scales = (const uint8_t *)panel->bytes + chain.offset + chain_layout(scheme, chain.k_count).scales;
    return (int8_t)scales[(k - chain.k) / QUANTIZED_BLOCK * QUANTIZED_ROWS + row];
}

// Whether weight (row, k) is an escape; its code then.
static row8_escape find_escape(const lamina_quantized_panel *panel, size_t k, size_t row) {
    for (size_t i = 0; i < LAMINA_ESCAPES; ++i) {
        const row8_escape escape = row8_escape_at(panel, i);
        if (escape.exists && escape.k == k && escape.row == row) {
            return escape;
        }
    }
    return (row8_escape){.exists = false};
}

static float weight_row8(const lamina_quantized_panel *panel, size_t k, size_t row) {
    const row8_escape escape = find_escape(panel, k, row);
    const int32_t code = escape.exists ? escape.code : integer_weight(LAMINA_SCHEME_ROW8, panel, k, row);
    return (float)code * row8_step(panel, row);
}

static float weight_in_chain(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k, size_t row) {
    const float scale = (float)chain_scale(scheme, panel, k, row) * chain_super(scheme, panel, k, row);
    return (float)integer_weight(scheme, panel, k, row) * scale;
}

static float weight_flat(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k, size_t row) {
    const uint8_t *bytes = panel->bytes;
    const size_t first = (panel->row + row) * panel->columns;
    const size_t entry = (first + k) / flat_block(scheme) - first / flat_block(scheme);
    const size_t index = entry * QUANTIZED_ROWS + row;
    const uint8_t *codes = bytes + flat_codes_offset(scheme, panel->columns);
    switch (scheme) {
    case LAMINA_SCHEME_NF4:
        return lamina_nf4_values[code_nibble(codes, k, row)] * lamina_float_from_f16(word_at(bytes, index));
    case LAMINA_SCHEME_NF4_DOUBLE: {
        const float scale = (float)bytes[QUANTIZED_ROWS * sizeof(float) + index] * float_at(bytes, row);
        return lamina_nf4_values[code_nibble(codes, k, row)] * scale;
    }
    default: return lamina_dynamic_map[code_byte(codes, k, row)] * float_at(bytes, index);
    }
}

static float weight_at(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k, size_t row) {
    switch (scheme) {
    case LAMINA_SCHEME_ROW8: return weight_row8(panel, k, row);
    case LAMINA_SCHEME_Q8:
    case LAMINA_SCHEME_Q4: return weight_in_chain(scheme, panel, k, row);
    default: return weight_flat(scheme, panel, k, row);
    }
}

static void dequantize_panel(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k_begin,
                             size_t k_count, float *out, size_t out_stride) {
    for (size_t k = 0; k < k_count; ++k) {
        for (size_t row = 0; row < QUANTIZED_ROWS; ++row) {
            out[k * out_stride + row] = weight_at(scheme, panel, k_begin + k, row);
        }
    }
}

// ---- products -----------------------------------------------------------------------------------------------

void lamina_reference_quantize_activations(const float *x, size_t count, size_t padded, int8_t *codes, float *scales,
                                           int32_t *corrections) {
    for (size_t block = 0; block < padded / QUANTIZED_BLOCK; ++block) {
        float values[QUANTIZED_BLOCK];
        float largest = 0;
        bool finite = true;
        for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
            const size_t k = block * QUANTIZED_BLOCK + i;
            values[i] = k < count ? x[k] : 0;
            finite = finite && isfinite(values[i]);
            largest = fmaxf(largest, fabsf(values[i]));
        }
        const float inverse = 127.0f / largest;
        const bool is_zero = !finite || isinf(inverse);
        int32_t sum = 0;
        for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
            const float code = is_zero ? 0 : rintf(values[i] * inverse);
            codes[block * QUANTIZED_BLOCK + i] = (int8_t)fmaxf(-127, fminf(127, code));
            sum += codes[block * QUANTIZED_BLOCK + i];
        }
        scales[block] = !finite ? NAN : is_zero ? 0 : largest / 127.0f;
        corrections[block] = -128 * sum;
    }
}

// One column of the activations.
typedef struct column_codes {
    const int8_t *codes;
    const float *scales;
} column_codes;

static float block_chain(lamina_scheme scheme, const lamina_quantized_panel *panel, column_codes x, size_t row,
                         size_t block, float sum) {
    int32_t integer = 0;
    for (size_t k = block * QUANTIZED_BLOCK; k < (block + 1) * QUANTIZED_BLOCK; ++k) {
        integer += integer_weight(scheme, panel, k, row) * x.codes[k];
    }
    const float scale = x.scales[block];
    if (scheme == LAMINA_SCHEME_ROW8) {
        return fmaf((float)integer, scale, sum);
    }
    const float product = (float)chain_scale(scheme, panel, block * QUANTIZED_BLOCK, row) * scale;
    return fmaf((float)integer, product, sum);
}

static float escape_chain(const lamina_quantized_panel *panel, column_codes x, size_t row, size_t k, size_t k_end,
                          float sum) {
    for (; k < k_end; ++k) {
        const row8_escape escape = find_escape(panel, k, row);
        if (escape.exists) {
            sum = fmaf((float)(escape.code + 128), (float)x.codes[k] * x.scales[k / QUANTIZED_BLOCK], sum);
        }
    }
    return sum;
}

static float product_of_row(lamina_scheme scheme, const lamina_quantized_panel *panel, column_codes x, size_t row) {
    const size_t padded = round_up(panel->columns, QUANTIZED_BLOCK);
    float y = 0;
    for (size_t k = 0; k < padded; k += LAMINA_CHAIN_LENGTH) {
        const size_t k_end = LAMINA_MIN(padded, k + LAMINA_CHAIN_LENGTH);
        float sum = 0;
        for (size_t block = k / QUANTIZED_BLOCK; block < k_end / QUANTIZED_BLOCK; ++block) {
            sum = block_chain(scheme, panel, x, row, block, sum);
        }
        if (scheme == LAMINA_SCHEME_ROW8) {
            sum = escape_chain(panel, x, row, k, k_end, sum) * row8_step(panel, row);
        } else {
            sum *= chain_super(scheme, panel, k, row);
        }
        y = k == 0 ? sum : y + sum;
    }
    return y;
}

static void multiply_quantized(lamina_scheme scheme, const lamina_quantized_task *task) {
    for (size_t column = 0; column < task->columns; ++column) {
        const column_codes x = {
            .codes = task->x.codes + column * task->x.code_stride,
            .scales = task->x.scales + column * task->x.block_stride,
        };
        for (size_t i = 0; i < task->panel_count; ++i) {
            float *y = task->y + column * task->y_stride + i * QUANTIZED_ROWS;
            for (size_t row = 0; row < task->panels[i].rows; ++row) {
                y[row] = product_of_row(scheme, &task->panels[i], x, row);
            }
        }
    }
}

static void multiply_dequantized(lamina_scheme scheme, const lamina_quantized_panel *panels, size_t count,
                                 const float *x, float *y) {
    for (size_t i = 0; i < count * QUANTIZED_ROWS; ++i) {
        const lamina_quantized_panel *panel = &panels[i / QUANTIZED_ROWS];
        const size_t row = i % QUANTIZED_ROWS;
        for (size_t k = 0; row < panel->rows && k < panel->columns; k += LAMINA_CHAIN_LENGTH) {
            float sum = 0;
            for (size_t j = k; j < LAMINA_MIN(panel->columns, k + LAMINA_CHAIN_LENGTH); ++j) {
                sum = fmaf(weight_at(scheme, panel, j, row), x[j], sum);
            }
            y[i] = k == 0 ? sum : y[i] + sum;
        }
    }
}

// ---- one function for each scheme -----------------------------------------------------------------------------

#define MULTIPLY(name, scheme)                                                           \
    void lamina_reference_multiply_quantized_##name(const lamina_quantized_task *task) { \
        multiply_quantized(scheme, task);                                                \
    }

MULTIPLY(row8, LAMINA_SCHEME_ROW8)
MULTIPLY(q8, LAMINA_SCHEME_Q8)
MULTIPLY(q4, LAMINA_SCHEME_Q4)

#define DEQUANTIZE(name, scheme)                                            \
    LAMINA_REFERENCE_DEQUANTIZE(name) {                                     \
        dequantize_panel(scheme, panel, k_begin, k_count, out, out_stride); \
    }

DEQUANTIZE(row8, LAMINA_SCHEME_ROW8)
DEQUANTIZE(q8, LAMINA_SCHEME_Q8)
DEQUANTIZE(q4, LAMINA_SCHEME_Q4)
DEQUANTIZE(nf4, LAMINA_SCHEME_NF4)
DEQUANTIZE(nf4_double, LAMINA_SCHEME_NF4_DOUBLE)
DEQUANTIZE(int8_dynamic, LAMINA_SCHEME_INT8_DYNAMIC)

#define MULTIPLY_DEQUANTIZED(name, scheme)                       \
    LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(name) {                \
        multiply_dequantized(scheme, panels, panel_count, x, y); \
        return true;                                             \
    }

MULTIPLY_DEQUANTIZED(row8, LAMINA_SCHEME_ROW8)
MULTIPLY_DEQUANTIZED(q8, LAMINA_SCHEME_Q8)
MULTIPLY_DEQUANTIZED(q4, LAMINA_SCHEME_Q4)
MULTIPLY_DEQUANTIZED(nf4, LAMINA_SCHEME_NF4)
MULTIPLY_DEQUANTIZED(nf4_double, LAMINA_SCHEME_NF4_DOUBLE)
MULTIPLY_DEQUANTIZED(int8_dynamic, LAMINA_SCHEME_INT8_DYNAMIC)
