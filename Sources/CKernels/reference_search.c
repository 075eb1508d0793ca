// The reference of Q8's and Q4's search for scales: one block of one row at a time.
#include "strict_floats.h"

#include "quantize.h"
#include "reference.h"

// A chain of a row, brought to a largest magnitude between 1 and 2.
typedef struct row_chain {
    float weights[LAMINA_CHAIN_LENGTH];
    size_t count;
    float largest;
    float unit;
} row_chain;

static row_chain load_chain(const lamina_quantize_source *source, size_t row, quantized_chain_place place) {
    row_chain chain = {.count = place.k_count};
    for (size_t i = 0; i < chain.count; ++i) {
        const bool exists = row < source->rows && place.k + i < source->columns;
        chain.weights[i] = exists ? source->weights[row * source->stride + place.k + i] : 0;
        chain.largest = fmaxf(chain.largest, fabsf(chain.weights[i]));
    }
    const int exponent = (int)(lamina_float_bits(chain.largest) >> 23) - 127;
    const float factor = ldexpf(1, -exponent);
    chain.unit = ldexpf(1, exponent);
    chain.largest *= factor;
    for (size_t i = 0; i < chain.count; ++i) {
        chain.weights[i] *= factor;
    }
    return chain;
}

// The first of a block's weights with the largest magnitude.
static float extreme_of(const float *block) {
    float extreme = 0;
    for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
        extreme = fabsf(block[i]) > fabsf(extreme) ? block[i] : extreme;
    }
    return extreme;
}

static float reciprocal(float scale) {
    return scale == 0 ? 0 : 1.0f / scale;
}

static float clamped(float value, float low, float high) {
    return fminf(fmaxf(value, low), high);
}

// ---- codes of the two schemes ----------------------------------------------------------------------------------------------

static int32_t code_of(lamina_scheme scheme, float scaled) {
    if (scheme == LAMINA_SCHEME_Q8) {
        return (int32_t)nearbyintf(clamped(scaled, -128, 127));
    }
    int32_t code = 0;
    while (code < 15 && scaled > (float)(lamina_q4_codebook[code] + lamina_q4_codebook[code + 1]) / 2) {
        ++code;
    }
    return code;
}

static float value_of(lamina_scheme scheme, float scaled) {
    const int32_t code = code_of(scheme, scaled);
    return scheme == LAMINA_SCHEME_Q8 ? (float)code : lamina_q4_codebook[code];
}

static float error_of(lamina_scheme scheme, const float *block, float scale) {
    const float inverse = reciprocal(scale);
    float sum = 0;
    for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
        const float error = block[i] - value_of(scheme, block[i] * inverse) * scale;
        sum += error * error;
    }
    return sum;
}

// The scale of least error of those offered; of equal ones the first.
static float best_scale(lamina_scheme scheme, const float *block, const float *scales, size_t count, float super) {
    float best = scales[0];
    for (size_t i = 1; i < count; ++i) {
        if (error_of(scheme, block, scales[i] * super) < error_of(scheme, block, best * super)) {
            best = scales[i];
        }
    }
    return best;
}

// ---- scales ------------------------------------------------------------------------------------------------------------------

static float scale_q8(const float *block, float super) {
    static const float offsets[] = {0, -1, 1, 2, 3, 4, 5, 6};
    const float extreme = extreme_of(block);
    const float least = ceilf(fabsf(extreme) / 128 * reciprocal(super));
    float scales[8];
    for (size_t i = 0; i < 8; ++i) {
        scales[i] = clamped(least + offsets[i], 0, 127) * (extreme > 0 ? -1.0f : 1.0f);
    }
    return best_scale(LAMINA_SCHEME_Q8, block, scales, 8, super);
}

static float fit_q4(const float *block) {
    const float inverse = reciprocal(extreme_of(block));
    float best = 0;
    float best_gain = 0;
    for (size_t place = 0; place < 18; ++place) {
        static const float parts[] = {0.78f, 0.82f, 0.86f, 0.90f, 0.94f, 0.98f, 1.02f, 1.06f, 1.10f};
        const float end = lamina_q4_codebook[place % 2 == 0 ? 0 : 15];
        float products = 0;
        float squares = 0;
        for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
            const float value = value_of(LAMINA_SCHEME_Q4, block[i] * (inverse * (parts[place / 2] * end)));
            products += block[i] * value;
            squares += value * value;
        }
        const float scale = products / squares;
        if (products * scale > best_gain) {
            best_gain = products * scale;
            best = scale;
        }
    }
    return best;
}

static float scale_q4(const float *block, float fit, float super) {
    const float nearest = clamped(nearbyintf(fit * reciprocal(super)), -127, 127);
    const float scales[] = {nearest, clamped(nearest - 1, -127, 127), clamped(nearest + 1, -127, 127)};
    return best_scale(LAMINA_SCHEME_Q4, block, scales, 3, super);
}

// In the chain's unit.
static float super_of(lamina_scheme scheme, const row_chain *chain) {
    if (scheme == LAMINA_SCHEME_Q8) {
        return chain->largest * (1.0f / 128 / 120);
    }
    float largest = 0;
    for (size_t k = 0; k < chain->count; k += QUANTIZED_BLOCK) {
        largest = fmaxf(largest, fabsf(fit_q4(chain->weights + k)));
    }
    return largest * (1.0f / 127);
}

// ---- panels --------------------------------------------------------------------------------------------------------------------

static void set_code(lamina_scheme scheme, uint8_t *codes, size_t k, size_t row, int32_t code) {
    if (scheme == LAMINA_SCHEME_Q8) {
        codes[k / 4 * 64 + 4 * row + k % 4] = (uint8_t)(code + 128);
    } else {
        uint8_t *byte = &codes[k / 8 * 64 + 4 * row + k % 4];
        *byte = (uint8_t)(k / 4 % 2 == 0 ? code : *byte | code << 4);
    }
}

static void quantize_row(lamina_scheme scheme, const row_chain *chain, size_t row, uint8_t *bytes) {
    const quantized_chain_layout layout = chain_layout(scheme, chain->count);
    const float super = super_of(scheme, chain);
    const float stored = super * chain->unit;
    memcpy(bytes + row * sizeof stored, &stored, sizeof stored);
    for (size_t k = 0; k < chain->count; k += QUANTIZED_BLOCK) {
        const float *block = chain->weights + k;
        const float scale = scheme == LAMINA_SCHEME_Q8 ? scale_q8(block, super) : scale_q4(block, fit_q4(block), super);
        bytes[layout.scales + k / QUANTIZED_BLOCK * QUANTIZED_ROWS + row] = (uint8_t)(int32_t)scale;
        const float inverse = reciprocal(scale * super);
        for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
            set_code(scheme, bytes + layout.codes, k + i, row, code_of(scheme, block[i] * inverse));
        }
    }
}

static void quantize_panel(lamina_scheme scheme, const lamina_quantize_source *source, void *panel) {
    for (size_t k = 0; k < source->columns; k += LAMINA_CHAIN_LENGTH) {
        const quantized_chain_place place = chain_place(scheme, source->columns, k);
        const quantized_chain_layout layout = chain_layout(scheme, place.k_count);
        uint8_t *bytes = (uint8_t *)panel + place.offset;
        memset(bytes + layout.scales, 0, layout.codes - layout.scales);
        for (size_t row = 0; row < QUANTIZED_ROWS; ++row) {
            const row_chain chain = load_chain(source, row, place);
            quantize_row(scheme, &chain, row, bytes);
        }
    }
}

void lamina_reference_quantize_panel_q8(const lamina_quantize_source *source, void *panel) {
    quantize_panel(LAMINA_SCHEME_Q8, source, panel);
}

void lamina_reference_quantize_panel_q4(const lamina_quantize_source *source, void *panel) {
    quantize_panel(LAMINA_SCHEME_Q4, source, panel);
}
