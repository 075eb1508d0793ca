// The quantizers' reference: one weight at a time.
#include "strict_floats.h"

#include "quantize.h"
#include "reference.h"

#include <stdlib.h>

// ---- rows -------------------------------------------------------------------------------------------------------------

void lamina_reference_row_statistics(const float *row, size_t count, lamina_row_statistics *statistics) {
    double sums[16] = {0};
    float largest = 0;
    *statistics = (lamina_row_statistics){.finite = count};
    for (size_t i = 0; i < count; ++i) {
        if (!isfinite(row[i])) {
            statistics->finite = i;
            return;
        }
        largest = fmaxf(largest, fabsf(row[i]));
        sums[i % 16] += (double)row[i] * (double)row[i];
    }
    for (size_t half = 8; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i) {
            sums[i] += sums[i + half];
        }
    }
    statistics->largest = largest;
    statistics->squares = sums[0];
}

void lamina_reference_flat_maxima(const float *values, size_t count, size_t position, size_t block, float *maxima) {
    for (size_t i = 0; i < count; ++i) {
        float *maximum = &maxima[(position + i) / block - position / block];
        *maximum = fmaxf(*maximum, fabsf(values[i]));
    }
}

void lamina_reference_add_panel_errors(const lamina_quantize_source *source, size_t k_begin, size_t k_count,
                                       const float *decoded, lamina_panel_errors *sums) {
    for (size_t row = 0; row < source->rows; ++row) {
        for (size_t k = 0; k < k_count; ++k) {
            const double weight = source->weights[row * source->stride + k_begin + k];
            const double error = weight - (double)decoded[k * QUANTIZED_ROWS + row];
            sums->errors[row] += error * error;
            sums->squares[row] += weight * weight;
        }
    }
}

// ---- places of codes ----------------------------------------------------------------------------------------------------

// 0 outside the matrix.
static float weight_at(const lamina_quantize_source *source, size_t row, size_t k) {
    return row < source->rows && k < source->columns ? source->weights[row * source->stride + k] : 0;
}

static void set_byte(uint8_t *codes, size_t k, size_t row, int32_t code) {
    codes[k / 4 * 64 + 4 * row + k % 4] = (uint8_t)code;
}

static void set_nibble(uint8_t *codes, size_t k, size_t row, int32_t code) {
    uint8_t *byte = &codes[k / 8 * 64 + 4 * row + k % 4];
    *byte = (uint8_t)(k / 4 % 2 == 0 ? (*byte & 0xf0) | code : (*byte & 0x0f) | code << 4);
}

static float clamped(float value, float low, float high) {
    return fminf(fmaxf(value, low), high);
}

// ---- ROW8 ---------------------------------------------------------------------------------------------------------------

static int32_t row8_code(const lamina_quantize_source *source, const uint16_t *steps, size_t row, size_t k) {
    const float weight = weight_at(source, row, k);
    return weight == 0 ? 0 : (int32_t)nearbyintf(weight / lamina_float_from_bf16(steps[row]));
}

static bool overflows(int32_t code) {
    return code < -127 || code > 127;
}

// Weights of a panel that were chosen to be escapes, by place: k * 16 + row.
typedef struct chosen_places {
    size_t places[LAMINA_ESCAPES];
    size_t count;
} chosen_places;

static bool is_chosen(const chosen_places *chosen, size_t place) {
    for (size_t i = 0; i < chosen->count; ++i) {
        if (chosen->places[i] == place) {
            return true;
        }
    }
    return false;
}

// The overflowing weight with the largest code, of equal ones the first place, that is not chosen yet.
static bool next_choice(const lamina_quantize_source *source, const uint16_t *steps, const chosen_places *chosen,
                        size_t *place) {
    int32_t largest = 127;
    for (size_t i = 0; i < source->columns * QUANTIZED_ROWS; ++i) {
        const int32_t magnitude = abs(row8_code(source, steps, i % QUANTIZED_ROWS, i / QUANTIZED_ROWS));
        if (magnitude > largest && !is_chosen(chosen, i)) {
            largest = magnitude;
            *place = i;
        }
    }
    return largest > 127;
}

// Raises the steps of rows with overflowing weights that cannot be escapes. False if there are none.
static bool raise_steps(const lamina_quantize_source *source, uint16_t *steps) {
    chosen_places chosen = {.count = 0};
    size_t place;
    while (chosen.count < source->escapes && next_choice(source, steps, &chosen, &place)) {
        chosen.places[chosen.count] = place;
        chosen.count += 1;
    }
    float left[QUANTIZED_ROWS] = {0};
    bool any = false;
    for (size_t i = 0; i < source->columns * QUANTIZED_ROWS; ++i) {
        const size_t row = i % QUANTIZED_ROWS;
        if (overflows(row8_code(source, steps, row, i / QUANTIZED_ROWS)) && !is_chosen(&chosen, i)) {
            left[row] = fmaxf(left[row], fabsf(weight_at(source, row, i / QUANTIZED_ROWS)));
            any = true;
        }
    }
    for (size_t row = 0; row < source->rows; ++row) {
        steps[row] = left[row] > 0 ? lamina_step_for_largest(left[row]) : steps[row];
    }
    return any;
}

static void begin_steps(const lamina_quantize_source *source, uint16_t *steps) {
    for (size_t row = 0; row < source->rows; ++row) {
        float largest = 0;
        for (size_t k = 0; k < source->columns; ++k) {
            largest = fmaxf(largest, fabsf(weight_at(source, row, k)));
        }
        steps[row] = source->steps[row];
        while (lamina_float_from_bf16(steps[row]) < largest / 32767.0f || (steps[row] == 0 && largest > 0)) {
            steps[row] += 1;
        }
    }
    while (raise_steps(source, steps)) {
    }
}

void lamina_reference_quantize_panel_row8(const lamina_quantize_source *source, void *panel) {
    uint8_t *bytes = panel;
    uint16_t steps[QUANTIZED_ROWS] = {0};
    uint64_t escapes[LAMINA_ESCAPES] = {LAMINA_NO_ESCAPE, LAMINA_NO_ESCAPE, LAMINA_NO_ESCAPE, LAMINA_NO_ESCAPE};
    size_t count = 0;
    begin_steps(source, steps);
    for (size_t k = 0; k < round_up(source->columns, QUANTIZED_BLOCK); ++k) {
        for (size_t row = 0; row < QUANTIZED_ROWS; ++row) {
            int32_t code = row8_code(source, steps, row, k);
            if (overflows(code)) {
                escapes[count] = (uint64_t)k << 24 | (uint64_t)row << 16 | (uint16_t)code;
                count += 1;
                code = -128;
            }
            set_byte(bytes + ROW8_HEADER, k, row, code + 128);
        }
    }
    memcpy(bytes, steps, sizeof steps);
    memcpy(bytes + ROW8_ESCAPES, escapes, sizeof escapes);
}

// ---- flat blocks ----------------------------------------------------------------------------------------------------------

static int32_t nf4_code(float scaled) {
    int32_t code = 0;
    while (code < 15 && scaled > (lamina_nf4_values[code] + lamina_nf4_values[code + 1]) / 2) {
        ++code;
    }
    return code;
}

static int32_t dynamic_code(float weight, float maximum) {
    if (maximum == 0) {
        return 0;
    }
    const float scaled = weight * (1.0f / maximum);
    const float unit = isnan(scaled) ? 0 : (1.0f + clamped(scaled, -1, 1)) * 0.5f;
    const float level = (float)(int32_t)fmaf(unit, 65535.0f, 0.5f);
    int32_t code = 0;
    while (code < 255 && (level + level) / 65535.0f - 1.0f >
           (lamina_dynamic_map[code] + lamina_dynamic_map[code + 1]) * 0.5f) {
        ++code;
    }
    return code;
}

static int32_t flat_code(lamina_scheme scheme, const lamina_quantize_source *source, size_t row, size_t k) {
    const bool is_dynamic = scheme == LAMINA_SCHEME_INT8_DYNAMIC;
    if (row >= source->rows || k >= source->columns) {
        return is_dynamic ? 127 : 7;
    }
    const size_t block = flat_block(scheme);
    const size_t total = source->matrix_rows * source->columns;
    const size_t index = ((source->row + row) * source->columns + k) / block;
    const float maximum = source->maxima[index - source->row * source->columns / block];
    const float weight = weight_at(source, row, k);
    if (is_dynamic) {
        return dynamic_code(weight, maximum);
    }
    const float divisor = fmaxf(maximum, 1e-38f);
    const bool is_whole = (index + 1) * block <= total;
    return nf4_code(is_whole ? weight * (1.0f / divisor) : weight / divisor);
}

static void quantize_panel_flat(lamina_scheme scheme, const lamina_quantize_source *source, void *panel) {
    uint8_t *codes = (uint8_t *)panel + flat_codes_offset(scheme, source->columns);
    lamina_store_flat_scales(scheme, source, panel);
    for (size_t k = 0; k < round_up(source->columns, QUANTIZED_BLOCK); ++k) {
        for (size_t row = 0; row < QUANTIZED_ROWS; ++row) {
            const int32_t code = flat_code(scheme, source, row, k);
            if (scheme_has_nibbles(scheme)) {
                set_nibble(codes, k, row, code);
            } else {
                set_byte(codes, k, row, code);
            }
        }
    }
}

void lamina_reference_quantize_panel_nf4(const lamina_quantize_source *source, void *panel) {
    quantize_panel_flat(LAMINA_SCHEME_NF4, source, panel);
}

void lamina_reference_quantize_panel_nf4_double(const lamina_quantize_source *source, void *panel) {
    quantize_panel_flat(LAMINA_SCHEME_NF4_DOUBLE, source, panel);
}

void lamina_reference_quantize_panel_int8_dynamic(const lamina_quantize_source *source, void *panel) {
    quantize_panel_flat(LAMINA_SCHEME_INT8_DYNAMIC, source, panel);
}
