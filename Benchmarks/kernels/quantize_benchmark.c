// Speed of the quantizers on normally distributed f32 weights, one thread: codes of each scheme, statistics of rows and
// largest magnitudes of flat blocks, and measuring what was lost, for each instruction set. Prints a Markdown table of
// million weights per second.
// Usage: quantize_benchmark [rounds]
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

#include <math.h>

enum {
    ROWS = 256,
    COLUMNS = 4096,
    WEIGHTS = ROWS * COLUMNS,
    PANELS = ROWS / LAMINA_QUANTIZED_ROWS,
    MAXIMUM_ROUNDS = 101,
};

typedef struct bench {
    const lamina_kernels *kernels;
    lamina_scheme scheme;
    float *weights;
    float *maxima;
    uint16_t steps[ROWS];
    uint8_t *panels;
    size_t panel_bytes;
    volatile double sink;
} bench;

static const char *const names[] = {"ecq 0.23", "q8", "q4", "nf4", "nf4-double", "int8-dynamic"};

static double uniform(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static void fill_weights(float *weights) {
    uint64_t state = 1;
    for (size_t i = 0; i < WEIGHTS; ++i) {
        const double radius = sqrt(-2 * log(uniform(&state)));
        weights[i] = (float)(0.02 * radius * cos(6.283185307179586 * uniform(&state)));
    }
}

static lamina_quantize_source source_of(const bench *b, size_t panel) {
    const size_t row = panel * LAMINA_QUANTIZED_ROWS;
    const size_t block = b->scheme == LAMINA_SCHEME_INT8_DYNAMIC ? 2048 : 64;
    return (lamina_quantize_source){
        .weights = b->weights + row * COLUMNS, .stride = COLUMNS, .rows = LAMINA_QUANTIZED_ROWS, .columns = COLUMNS,
        .steps = b->steps + row, .escapes = LAMINA_ESCAPES,
        .row = row, .matrix_rows = ROWS, .maxima = b->maxima + row * COLUMNS / block,
    };
}

static void measure_rows(bench *b) {
    for (size_t row = 0; row < ROWS; ++row) {
        lamina_row_statistics statistics;
        b->kernels->row_statistics(b->weights + row * COLUMNS, COLUMNS, &statistics);
        b->steps[row] = lamina_step_for_rms(0.23, statistics.squares, statistics.largest, COLUMNS);
    }
}

static void find_maxima(bench *b) {
    const size_t block = b->scheme == LAMINA_SCHEME_INT8_DYNAMIC ? 2048 : 64;
    memset(b->maxima, 0, (WEIGHTS / block) * sizeof *b->maxima);
    b->kernels->flat_maxima(b->weights, WEIGHTS, 0, block, b->maxima);
}

static void quantize(bench *b) {
    for (size_t panel = 0; panel < PANELS; ++panel) {
        const lamina_quantize_source source = source_of(b, panel);
        b->kernels->quantize_panel[b->scheme](&source, b->panels + panel * b->panel_bytes);
    }
}

static void measure(bench *b) {
    for (size_t panel = 0; panel < PANELS; ++panel) {
        const lamina_quantize_source source = source_of(b, panel);
        lamina_panel_errors sums;
        lamina_measure_panel(b->kernels, b->scheme, &source, b->panels + panel * b->panel_bytes, &sums);
        b->sink += sums.errors[0];
    }
}

// Million weights per second.
static double rate(bench *b, void (*work)(bench *), size_t rounds) {
    double rates[MAXIMUM_ROUNDS];
    for (size_t round = 0; round < rounds; ++round) {
        const double start = now();
        work(b);
        rates[round] = WEIGHTS / (now() - start) / 1e6;
    }
    return median(rates, rounds);
}

static void report(bench *b, size_t rounds) {
    for (int scheme = 0; scheme < LAMINA_SCHEMES; ++scheme) {
        b->scheme = (lamina_scheme)scheme;
        b->panel_bytes = lamina_quantized_panel_bytes(b->scheme, COLUMNS);
        const double rows = rate(b, measure_rows, rounds);
        const double maxima = rate(b, find_maxima, rounds);
        const double codes = rate(b, quantize, rounds);
        printf("| %s | %s | %.0f | %.0f | %.0f | %.0f |\n", lamina_isa_name(b->kernels->isa), names[scheme], codes, rows,
               maxima, rate(b, measure, rounds));
    }
}

int main(int argument_count, char **arguments) {
    const size_t rounds = argument_count > 1 ? (size_t)atoi(arguments[1]) : 7;
    if (rounds == 0 || rounds > MAXIMUM_ROUNDS) {
        fprintf(stderr, "usage: quantize_benchmark [rounds, 1 to %d]\n", MAXIMUM_ROUNDS);
        return 1;
    }
    static bench b;
    b.weights = allocate(WEIGHTS * sizeof(float));
    b.maxima = allocate(WEIGHTS / 64 * sizeof(float));
    b.panels = allocate(lamina_quantized_slot_bytes(LAMINA_SCHEME_Q8, COLUMNS, PANELS) * 2);
    fill_weights(b.weights);
    printf("Million weights per second and thread, medians of %zu rounds.\n\n", rounds);
    printf("| instruction set | scheme | codes | row statistics | flat maxima | measuring |\n|---|---|---|---|---|---|\n");
    for (int isa = LAMINA_ISA_PORTABLE; isa <= LAMINA_ISA_AVX512_VBMI2; ++isa) {
        if (lamina_isa_is_available((lamina_isa)isa)) {
            b.kernels = lamina_kernels_for((lamina_isa)isa);
            report(&b, rounds);
        }
    }
    return 0;
}
