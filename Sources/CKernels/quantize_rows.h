// Rows and flat spans of f32: what is to be known before they are quantized, and what quantizing lost.
#ifndef LAMINA_QUANTIZE_ROWS_H
#define LAMINA_QUANTIZE_ROWS_H

#include "quantize.h"
#include "vectors16.h"

// 1 to 16 values of a row; the rest of the lanes is 0.
LAMINA_INLINE floats16 row_lanes(const float *row, size_t count) {
    return count >= 16 ? floats16_load(row) : floats16_load_part(row, count);
}

static size_t first_not_finite(const float *row, size_t count) {
    size_t i = 0;
    while (i < count && (lamina_float_bits(row[i]) & 0x7f800000) != 0x7f800000) {
        ++i;
    }
    return i;
}

static void row_statistics(const float *row, size_t count, lamina_row_statistics *statistics) {
    words16 largest = {0};
    doubles16 squares = {0};
    for (size_t i = 0; i < count; i += 16) {
        const floats16 values = row_lanes(row + i, count - i);
        const words16 magnitudes = (words16)values & 0x7fffffff;  // ordered as the numbers are, NaN above infinity
        const words16 rises = magnitudes > largest;
        largest = (rises & magnitudes) | (~rises & largest);
        const doubles16 wide = __builtin_convertvector(values, doubles16);
        squares += wide * wide;
    }
    int32_t peak = 0;
    for (size_t i = 0; i < 16; ++i) {
        peak = largest[i] > peak ? largest[i] : peak;
    }
    const bool is_finite = peak < 0x7f800000;
    for (size_t half = 8; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i) {
            squares[i] += squares[i + half];
        }
    }
    statistics->finite = is_finite ? count : first_not_finite(row, count);
    statistics->largest = is_finite ? lamina_float_from_bits((uint32_t)peak) : 0;
    statistics->squares = is_finite ? squares[0] : 0;
}

// Of up to a block.
static float span_magnitude(const float *values, size_t count) {
    floats16 largest = {0};
    for (size_t i = 0; i < count; i += 16) {
        largest = floats16_larger(floats16_magnitude(row_lanes(values + i, count - i)), largest);
    }
    float peak = 0;
    for (size_t i = 0; i < 16; ++i) {
        peak = largest[i] > peak ? largest[i] : peak;
    }
    return peak;
}

static void flat_maxima(const float *values, size_t count, size_t position, size_t block, float *maxima) {
    const size_t first = position / block;
    while (count > 0) {
        const size_t piece = LAMINA_MIN(count, block - position % block);
        float *maximum = &maxima[position / block - first];
        const float largest = span_magnitude(values, piece);
        *maximum = largest > *maximum ? largest : *maximum;
        values += piece;
        position += piece;
        count -= piece;
    }
}

// Weights k..<k + 16 of a panel's rows, [k][row]; 0 for what is not there.
static void transpose_weights(const lamina_quantize_source *source, size_t k, float *target) {
    const float *weights = source->weights + k;
    size_t stride = source->stride;
    float part[16 * 16];
    const size_t count = source->columns > k ? LAMINA_MIN(source->columns - k, (size_t)16) : 0;
    if (source->rows < QUANTIZED_ROWS || count < 16) {
        memset(part, 0, sizeof part);
        for (size_t row = 0; row < source->rows; ++row) {
            memcpy(part + row * 16, weights + row * stride, count * sizeof *part);
        }
        weights = part;
        stride = 16;
    }
    transpose_block((const uint8_t *)weights, stride * sizeof *weights, (uint8_t *)target, 16 * sizeof *target);
}

static void add_panel_errors(const lamina_quantize_source *source, size_t k_begin, size_t k_count,
                             const float *decoded, lamina_panel_errors *sums) {
    doubles16 errors;
    doubles16 squares;
    memcpy(&errors, sums->errors, sizeof errors);
    memcpy(&squares, sums->squares, sizeof squares);
    for (size_t k = 0; k < k_count; k += 16) {
        float tile[16 * 16];
        transpose_weights(source, k_begin + k, tile);
        for (size_t i = 0; i < LAMINA_MIN(k_count - k, (size_t)16); ++i) {
            const doubles16 weight = __builtin_convertvector(floats16_load(tile + i * 16), doubles16);
            const floats16 value = floats16_load(decoded + (k + i) * QUANTIZED_ROWS);
            const doubles16 error = weight - __builtin_convertvector(value, doubles16);
            errors += error * error;
            squares += weight * weight;
        }
    }
    for (size_t row = 0; row < source->rows; ++row) {
        sums->errors[row] = errors[row];
        sums->squares[row] = squares[row];
    }
}

#endif
