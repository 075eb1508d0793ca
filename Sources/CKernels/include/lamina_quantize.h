// From f32 rows to panels of quantized weights. Included by lamina_kernels.h; the bytes are described in
// lamina_quantized.h and formats/quantization.md, and are the same on every instruction set.
#ifndef LAMINA_QUANTIZE_H
#define LAMINA_QUANTIZE_H

#include "lamina_quantized.h"

#include <stddef.h>
#include <stdint.h>

// ---- rows -------------------------------------------------------------------------------------------------------

// What is to be known of a row before it is quantized.
typedef struct lamina_row_statistics {
    size_t finite;   // values in front of the first NaN or infinity; the row's count if there is none
    float largest;   // magnitude; this and the sum are 0 if a value is not finite
    double squares;  // sum of squares: 16 partial sums (value i adds to i % 16), then halves added 8, 4, 2, 1
} lamina_row_statistics;

// The step, a bf16, with which no code of a ROW8 row whose largest magnitude is `largest` exceeds 127: largest / 127,
// rounded up.
uint16_t lamina_step_for_largest(float largest);
// The step delta * sqrt(squares / count), to the nearest bf16, of the row that `squares` and `count` are from; raised
// until the code of `largest` fits 16 bits. 0 only for a row of zeros.
uint16_t lamina_step_for_rms(double delta, double squares, float largest, size_t count);

// ---- panels -----------------------------------------------------------------------------------------------------

// What a panel is quantized from. All weights are finite.
typedef struct lamina_quantize_source {
    const float *weights;    // row i: `columns` values at weights + i * stride
    size_t stride;
    size_t rows;             // 1 to LAMINA_QUANTIZED_ROWS; the panel is filled with rows of zeros
    size_t columns;
    // ROW8 only: steps[rows], bf16, and the most escapes, 0 or LAMINA_ESCAPES. Steps are raised until the panel has no
    // more: of the weights whose codes exceed 127, those with the largest codes (then smaller k, then smaller row) stay
    // escapes, and each row with others gets lamina_step_for_largest of the largest of these.
    const uint16_t *steps;
    size_t escapes;
    // NF4, NF4_DOUBLE and INT8_DYNAMIC only: the first row's number in the matrix, the matrix's rows, and the largest
    // magnitudes of the flattened matrix's blocks, the first one that of the block with the panel's first weight.
    // NF4 stores them as f16, which reaches from 2^-24 to 65504: codes do not depend on that, but the weights do.
    size_t row;
    size_t matrix_rows;
    const float *maxima;
} lamina_quantize_source;

// Sums over each row of a panel, in double, rising k, product and sum rounded apart.
typedef struct lamina_panel_errors {
    double errors[LAMINA_QUANTIZED_ROWS];   // (weight - quantized weight)^2
    double squares[LAMINA_QUANTIZED_ROWS];  // weight^2
} lamina_panel_errors;

struct lamina_kernels;

// What quantizing lost: the panel is read with the kernels' own dequantize_panel. Rows of padding get 0.
void lamina_measure_panel(const struct lamina_kernels *kernels, lamina_scheme scheme,
                          const lamina_quantize_source *source, const void *panel, lamina_panel_errors *sums);

// ---- how much a scheme may lose -----------------------------------------------------------------------------------

// |weight - quantized weight| is at most this times the largest magnitude among the weights that share a scale, plus a
// floor for denormal numbers. For Q8 and Q4 it bounds the root of the mean square over each block of 32, and the weights
// are those of the row's chain (512); all others bound every weight, ROW8 if it has no escapes and the steps of
// lamina_step_for_largest (otherwise it is half a step).
#define LAMINA_ERROR_BOUND_ROW8 0.00397          // half of 1/127, which rounding up makes larger by up to 2^-7
#define LAMINA_ERROR_BOUND_Q8 0.00398            // half of 122/120 of 1/128: the least scale that clips nothing
#define LAMINA_ERROR_BOUND_Q4 0.14               // half the widest gap, 27, over 104; and half a step of the scale, 1/160
#define LAMINA_ERROR_BOUND_NF4 0.1525            // half the widest gap, from -1 to -0.696; 2^-11 of a scale
#define LAMINA_ERROR_BOUND_NF4_DOUBLE 0.154      // half the gap; half of 1/255 of the largest of all the row's blocks
#define LAMINA_ERROR_BOUND_INT8_DYNAMIC 0.00705  // half the widest gap, 0.0140625; 2^-16 by levels
#define LAMINA_ERROR_FLOOR 0x1p-124
#define LAMINA_ERROR_FLOOR_NF4 0x1p-24           // f16 has no scales below

#endif
