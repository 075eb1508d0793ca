// Quantizers against the reference.
#include "check.h"

enum {
    ROWS = 19,
    MATRIX_ROWS = ROWS + 16,
    COLUMNS = 2080,
    FLAT_BLOCKS = MATRIX_ROWS * COLUMNS / 64 + 2,
    PANEL_BYTES = 1 << 17,
};

static float weights[ROWS * COLUMNS];
static float maxima[2][FLAT_BLOCKS];
static uint8_t panels[2][PANEL_BYTES] __attribute__((aligned(64)));

// About one row in eight has numbers of another magnitude, and one in eight an outlier.
static void fill_weights(check *c, size_t columns) {
    static const int exponents[] = {0, 0, 0, 0, 0, 0, -130, 100};
    for (size_t row = 0; row < ROWS; ++row) {
        float *values = weights + row * columns;
        fill(c, values, columns);
        const int exponent = exponents[next_random(c) % (sizeof exponents / sizeof *exponents)];
        for (size_t k = 0; k < columns; ++k) {
            values[k] = ldexpf(values[k], exponent);
        }
        if (next_random(c) % 8 == 0) {
            values[next_random(c) % columns] *= 100;
        }
    }
}

static void check_rows(check *c, size_t columns) {
    lamina_row_statistics found = {0};
    lamina_row_statistics expected = {0};
    c->kernels->row_statistics(weights, columns, &found);
    c->reference->row_statistics(weights, columns, &expected);
    expect_same(c, "row_statistics", &found, &expected, sizeof found);
    weights[columns / 2] = INFINITY;
    c->kernels->row_statistics(weights, columns, &found);
    c->reference->row_statistics(weights, columns, &expected);
    expect_same(c, "row_statistics of an infinity", &found, &expected, sizeof found);
    weights[columns / 2] = 0;
}

static void check_maxima(check *c, size_t columns, size_t block) {
    memset(maxima, 0, sizeof maxima);
    const size_t position = 16 * columns;
    const size_t first = position / block;
    for (size_t row = 0; row < ROWS; ++row) {
        const size_t begin = position + row * columns;
        c->kernels->flat_maxima(weights + row * columns, columns, begin, block, maxima[0] + (begin / block - first));
        c->reference->flat_maxima(weights + row * columns, columns, begin, block, maxima[1] + (begin / block - first));
    }
    expect_same(c, "flat_maxima", maxima[0], maxima[1], sizeof maxima[0]);
}

static void check_panel(check *c, lamina_scheme scheme, const lamina_quantize_source *source) {
    const size_t bytes = lamina_quantized_panel_bytes(scheme, source->columns);
    memset(panels, 0xee, sizeof panels);
    c->kernels->quantize_panel[scheme](source, panels[0]);
    c->reference->quantize_panel[scheme](source, panels[1]);
    expect_same(c, "quantize_panel", panels[0], panels[1], bytes);
    lamina_panel_errors found;
    lamina_panel_errors expected;
    lamina_measure_panel(c->kernels, scheme, source, panels[0], &found);
    lamina_measure_panel(c->reference, scheme, source, panels[1], &expected);
    expect_same(c, "lamina_measure_panel", &found, &expected, sizeof found);
}

static void check_scheme(check *c, lamina_scheme scheme, size_t rows, size_t columns) {
    lamina_quantize_source source = {
        .weights = weights, .stride = columns, .rows = rows, .columns = columns, .row = 16,
        .matrix_rows = 16 + rows, .maxima = maxima[1],
    };
    uint16_t steps[LAMINA_QUANTIZED_ROWS];
    source.steps = steps;
    static const double deltas[] = {0.2, 0.02, 1e-6};
    for (size_t i = 0; i < (scheme == LAMINA_SCHEME_ROW8 ? sizeof deltas / sizeof *deltas : 1); ++i) {
        for (size_t row = 0; row < rows; ++row) {
            lamina_row_statistics statistics;
            c->reference->row_statistics(weights + row * columns, columns, &statistics);
            steps[row] = lamina_step_for_rms(deltas[i], statistics.squares, statistics.largest, columns);
        }
        source.escapes = i == 1 ? 0 : LAMINA_ESCAPES;
        check_panel(c, scheme, &source);
    }
}

void check_quantize(check *c) {
    static const size_t columns[] = {1, 31, 100, 576, COLUMNS};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; ++i) {
        fill_weights(c, columns[i]);
        check_rows(c, columns[i]);
        for (int scheme = 0; scheme < LAMINA_SCHEMES; ++scheme) {
            check_maxima(c, columns[i], scheme == LAMINA_SCHEME_INT8_DYNAMIC ? 2048 : 64);
            check_scheme(c, (lamina_scheme)scheme, i % 2 == 0 ? 16 : 5, columns[i]);
        }
    }
}
