// Speed of the kernels for quantized weights: one column beside a read of the same memory, in turns inside one loop;
// batches beside the peak of the instruction that multiplies bytes; dequantizing, alone and before the f32 product;
// quantizing of activations.
// Usage: quantized_benchmark [threads] [rounds] [gemv|gemm|f32]
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    K = 4096,
    CODE_STRIDE = K + 64,  // as Inference has it: columns of codes do not fall into the same sets of the cache
    READ_BYTES = 448 << 20,  // at least this much for a column: far more than the caches hold
    SQUARE = 4096,           // rows of the matrix for batches
    MAXIMUM_COLUMNS = 512,
    MAXIMUM_ROUNDS = 101,
    BLOCKS = K / LAMINA_QUANTIZED_BLOCK,
    TASK_PANELS = 4,
    TASK_ROWS = TASK_PANELS * LAMINA_QUANTIZED_ROWS,
};

static const char *const scheme_names[LAMINA_SCHEMES] = {"int8-row", "q8", "q4", "nf4", "nf4-double", "int8-dynamic"};

typedef struct bench {
    lamina_pool *pool;
    size_t rounds;
    const lamina_kernels *kernels;
    lamina_scheme scheme;
    uint8_t *slot;
    size_t tasks;
    float *x;  // [MAXIMUM_COLUMNS][K]
    lamina_quantized_activations activations;
    int8_t *codes;
    float *scales;
    int32_t *corrections;
    float *y;
    size_t y_stride;
    size_t columns;
    uint64_t sums[1024];
    float *chains[1024];  // of each thread: a dequantized chain of the panels of a task
} bench;

static size_t task_bytes(const bench *b) {
    return lamina_quantized_slot_bytes(b->scheme, K, TASK_PANELS);
}

static void panels_of(const bench *b, size_t index, lamina_quantized_panel panels[TASK_PANELS]) {
    for (size_t i = 0; i < TASK_PANELS; ++i) {
        panels[i] = lamina_quantized_panel_at(b->scheme, b->slot, index * TASK_PANELS + i, K, 0, b->tasks * TASK_ROWS);
    }
}

static bool is_avx512(lamina_isa isa) {
    return isa == LAMINA_ISA_AVX512 || isa == LAMINA_ISA_AVX512_VBMI2;
}

// ---- what is measured -------------------------------------------------------------------------------------------

static void multiply_task(void *context, size_t index, size_t worker) {
    (void)worker;
    const bench *b = context;
    lamina_quantized_panel panels[TASK_PANELS];
    panels_of(b, index, panels);
    const lamina_quantized_task task = {
        .panels = panels,
        .panel_count = TASK_PANELS,
        .x = b->activations,
        .y = b->y + index * TASK_ROWS,
        .y_stride = b->y_stride,
        .columns = b->columns,
    };
    b->kernels->multiply_quantized[b->scheme](&task);
}

static void dequantize_chain(const bench *b, const lamina_quantized_panel panels[TASK_PANELS], size_t k, float *out) {
    for (size_t i = 0; i < TASK_PANELS; ++i) {
        b->kernels->dequantize_panel[b->scheme](&panels[i], k, LAMINA_CHAIN_LENGTH, out + i * LAMINA_QUANTIZED_ROWS,
                                                TASK_ROWS);
    }
}

static void dequantize_task(void *context, size_t index, size_t worker) {
    const bench *b = context;
    lamina_quantized_panel panels[TASK_PANELS];
    panels_of(b, index, panels);
    for (size_t k = 0; k < K; k += LAMINA_CHAIN_LENGTH) {
        dequantize_chain(b, panels, k, b->chains[worker]);
    }
}

// The path of f32 activations: dequantizes a chain, then multiplies it.
static void multiply_f32_task(void *context, size_t index, size_t worker) {
    const bench *b = context;
    lamina_quantized_panel panels[TASK_PANELS];
    panels_of(b, index, panels);
    lamina_panel_task task = {
        .weights = b->chains[worker],
        .width = TASK_ROWS,
        .rows = TASK_ROWS,
        .k_count = LAMINA_CHAIN_LENGTH,
        .x = b->x,
        .x_stride = K,
        .y = b->y + index * TASK_ROWS,
        .y_stride = b->y_stride,
        .columns = b->columns,
    };
    for (; task.k_begin < K; task.k_begin += LAMINA_CHAIN_LENGTH) {
        dequantize_chain(b, panels, task.k_begin, b->chains[worker]);
        b->kernels->multiply_panel[LAMINA_WEIGHT_F32](&task);
    }
}

// The same without room for the weights.
static void multiply_single_task(void *context, size_t index, size_t worker) {
    (void)worker;
    const bench *b = context;
    lamina_quantized_panel panels[TASK_PANELS];
    panels_of(b, index, panels);
    b->kernels->multiply_dequantized[b->scheme](panels, TASK_PANELS, b->x, b->y + index * TASK_ROWS);
}

// With loads as wide as the kernels': narrower ones keep fewer lines of the cache on their way.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t read_avx512(const uint8_t *bytes, size_t count) {
    __m512i sums[8] = {0};
    for (size_t i = 0; i + 512 <= count; i += 512) {
        for (size_t line = 0; line < 8; ++line) {
            sums[line] = _mm512_xor_si512(sums[line], _mm512_loadu_si512(bytes + i + 64 * line));
        }
    }
    for (size_t line = 1; line < 8; ++line) {
        sums[0] = _mm512_xor_si512(sums[0], sums[line]);
    }
    return (uint64_t)_mm512_reduce_add_epi64(sums[0]);
}
#endif

static uint64_t read_words(const uint8_t *bytes, size_t count) {
    uint64_t sums[16] = {0};
    for (size_t i = 0; i + 128 <= count; i += 128) {
        for (size_t lane = 0; lane < 16; ++lane) {
            uint64_t word;
            memcpy(&word, bytes + i + 8 * lane, sizeof word);
            sums[lane] ^= word;
        }
    }
    for (size_t lane = 1; lane < 16; ++lane) {
        sums[0] ^= sums[lane];
    }
    return sums[0];
}

static void read_task(void *context, size_t index, size_t worker) {
    bench *b = context;
    const uint8_t *bytes = b->slot + index * task_bytes(b);
#if defined(__x86_64__)
    if (is_avx512(b->kernels->isa)) {
        b->sums[worker] ^= read_avx512(bytes, task_bytes(b));
        return;
    }
#endif
    b->sums[worker] ^= read_words(bytes, task_bytes(b));
}

static void activations_task(void *context, size_t index, size_t worker) {
    (void)worker;
    const bench *b = context;
    b->kernels->quantize_activations(b->x + index * K, K, K, b->codes + index * CODE_STRIDE, b->scales + index * BLOCKS,
                                     b->corrections + index * BLOCKS);
}

static double seconds(bench *b, size_t count, void (*task)(void *, size_t, size_t)) {
    const double start = now();
    lamina_pool_run(b->pool, count, task, b);
    return now() - start;
}

// ---- peak of products of bytes ----------------------------------------------------------------------------------

static volatile int32_t sink;
enum { PEAK_STEPS = 2000000 };

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) static int32_t peak_vnni(void) {
    __m512i sums[16];
    for (size_t i = 0; i < 16; ++i) sums[i] = _mm512_set1_epi32((int)i);
    const __m512i codes = _mm512_set1_epi32(0x01020304);
    for (size_t step = 0; step < PEAK_STEPS; ++step) {
        for (size_t i = 0; i < 16; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], codes, codes);
    }
    for (size_t i = 1; i < 16; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
    return _mm512_reduce_add_epi32(sums[0]);
}
#endif

static void peak_task(void *context, size_t index, size_t worker) {
    (void)context;
    (void)index;
    (void)worker;
#if defined(__x86_64__)
    sink = peak_vnni();
#endif
}

// GOP/s of all threads, registers only; 0 where it is not known.
static double peak(bench *b) {
    if (b->kernels->isa != LAMINA_ISA_AVX512_VBMI2) {
        return 0;
    }
    const size_t threads = lamina_pool_threads(b->pool);
    double best = 0;
    for (int round = 0; round < 5; ++round) {
        const double time = seconds(b, threads, peak_task);
        best = fmax(best, 2.0 * 16 * 64 * PEAK_STEPS * (double)threads / time / 1e9);
    }
    return best;
}

// ---- reports ----------------------------------------------------------------------------------------------------

static void begin_line(const bench *b, const char *what) {
    printf("%-10s %-12s %-12s", lamina_isa_name(b->kernels->isa), what, scheme_names[b->scheme]);
}

static void report_gemv(bench *b, const char *what, size_t columns, void (*task)(void *, size_t, size_t)) {
    double rates[MAXIMUM_ROUNDS];
    double reads[MAXIMUM_ROUNDS];
    double ratios[MAXIMUM_ROUNDS];
    b->tasks = READ_BYTES / task_bytes(b);
    b->y_stride = b->tasks * TASK_ROWS;
    b->columns = columns;
    const double gigabytes = (double)(b->tasks * task_bytes(b)) / 1e9;
    const double weights = (double)(b->tasks * TASK_ROWS) * K / 1e9;
    for (size_t round = 0; round < b->rounds; ++round) {
        reads[round] = gigabytes / seconds(b, b->tasks, read_task);
        rates[round] = gigabytes / seconds(b, b->tasks, task);
        ratios[round] = rates[round] / reads[round];
    }
    const double rate = median(rates, b->rounds);
    begin_line(b, what);
    printf(" %6.1f GB/s   read %6.1f   ratio %5.2f   %5.1f G weights/s\n", rate, median(reads, b->rounds),
           median(ratios, b->rounds), rate / gigabytes * weights);
}

static void report_batches(bench *b, const char *what, void (*task)(void *, size_t, size_t), double peak_rate) {
    static const size_t batches[] = {2, 4, 8, 16, 64, 512};
    b->tasks = SQUARE / TASK_ROWS;
    b->y_stride = SQUARE;
    for (size_t i = 0; i < sizeof batches / sizeof *batches; ++i) {
        b->columns = batches[i];
        double rates[MAXIMUM_ROUNDS];
        const size_t rounds = batches[i] > 64 ? b->rounds / 4 + 1 : b->rounds;
        for (size_t round = 0; round < rounds; ++round) {
            rates[round] = 2.0 * SQUARE * K * (double)b->columns / seconds(b, b->tasks, task) / 1e9;
        }
        const double rate = median(rates, rounds);
        begin_line(b, what);
        printf(" M %-4zu %7.1f GOP/s", b->columns, rate);
        if (peak_rate > 0) {
            printf("   of peak %5.2f", rate / peak_rate);
        }
        printf("\n");
    }
}

static void report_activations(bench *b) {
    double rates[MAXIMUM_ROUNDS];
    for (size_t round = 0; round < b->rounds; ++round) {
        rates[round] = (double)MAXIMUM_COLUMNS * K / seconds(b, MAXIMUM_COLUMNS, activations_task) / 1e9;
    }
    printf("%-10s activations  %6.2f G/s\n", lamina_isa_name(b->kernels->isa), median(rates, b->rounds));
}

static bool measures(const char *only, const char *what) {
    return only == NULL || strcmp(only, what) == 0;
}

static void report_isa(bench *b, const char *only) {
    report_activations(b);
    const double peak_rate = measures(only, "gemm") ? peak(b) : 0;
    if (peak_rate > 0) {
        printf("%-10s peak of products of bytes %.0f GOP/s\n", lamina_isa_name(b->kernels->isa), peak_rate);
    }
    for (int scheme = 0; scheme < LAMINA_SCHEMES; ++scheme) {
        b->scheme = (lamina_scheme)scheme;
        if (scheme <= LAMINA_SCHEME_Q4 && measures(only, "gemv")) {
            report_gemv(b, "gemv", 1, multiply_task);
            report_gemv(b, "4 columns", 4, multiply_task);
        }
        if (scheme <= LAMINA_SCHEME_Q4 && measures(only, "gemm")) {
            report_batches(b, "gemm", multiply_task, peak_rate);
        }
        if (measures(only, "f32")) {
            report_gemv(b, "dequantize", 1, dequantize_task);
            report_gemv(b, "gemv f32", 1, multiply_f32_task);
            report_gemv(b, "gemv single", 1, multiply_single_task);
            report_batches(b, "gemm f32", multiply_f32_task, 0);
        }
    }
}

static void prepare(bench *b) {
    b->slot = allocate(READ_BYTES);
    // 0x3c3c3c3c and 0x3c3c: small normal numbers as scales of any type; and no escape of a panel that narrow.
    memset(b->slot, 0x3c, READ_BYTES);
    b->y = allocate(sizeof(float) * SQUARE * MAXIMUM_COLUMNS);
    b->x = allocate(sizeof(float) * K * MAXIMUM_COLUMNS);
    for (size_t i = 0; i < (size_t)K * MAXIMUM_COLUMNS; ++i) {
        b->x[i] = 1.0f + (float)(i % 7);
    }
    b->codes = allocate((size_t)CODE_STRIDE * MAXIMUM_COLUMNS);
    b->scales = allocate(sizeof(float) * BLOCKS * MAXIMUM_COLUMNS);
    b->corrections = allocate(sizeof(int32_t) * BLOCKS * MAXIMUM_COLUMNS);
    b->activations = (lamina_quantized_activations){b->codes, CODE_STRIDE, b->scales, b->corrections, BLOCKS};
    for (size_t i = 0; i < lamina_pool_threads(b->pool); ++i) {
        b->chains[i] = allocate(sizeof(float) * LAMINA_CHAIN_LENGTH * TASK_ROWS);
    }
}

int main(int argument_count, char **arguments) {
    const size_t threads = argument_count > 1 ? (size_t)atoi(arguments[1]) : 1;
    const char *only = argument_count > 3 ? arguments[3] : NULL;
    static bench b;
    b.rounds = argument_count > 2 ? (size_t)atoi(arguments[2]) : 9;
    b.pool = lamina_pool_create(threads);
    if (b.pool == NULL || b.rounds == 0 || b.rounds > MAXIMUM_ROUNDS) {
        fprintf(stderr, "usage: quantized_benchmark [threads, 1 to 1024] [rounds, 1 to %d] [gemv|gemm|f32]\n",
                MAXIMUM_ROUNDS);
        return 1;
    }
    prepare(&b);
    lamina_isa chosen;
    if (!lamina_isa_choose(&chosen)) {
        fprintf(stderr, "error: LAMINA_ISA names no instruction set of this machine\n");
        return 1;
    }
    b.kernels = lamina_kernels_for(chosen);
    printf("%zu thread(s), medians of %zu rounds, %d columns; one column: at least %d MB of weights; batches: %d rows\n",
           threads, b.rounds, K, READ_BYTES / 1000000, SQUARE);
    report_isa(&b, only);
    lamina_pool_destroy(b.pool);
    return 0;
}
