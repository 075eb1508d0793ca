// Speed of the kernels beside what the machine gives: panel products beside a read of the same memory, in turns
// inside one loop, and beside the peak of fused multiply-add; byte planes, packing and the thread pool.
// Usage: kernel_benchmark [threads] [rounds] [gemm]; "gemm" measures products of BF16 with the chosen set only.
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    ROWS = 14336,
    SQUARE = 4096,  // rows of the smaller matrix for batches
    K = 4096,
    MAXIMUM_COLUMNS = 512,
    MAXIMUM_ROUNDS = 101,
};

// ---- what is measured -------------------------------------------------------------------------------------------

typedef struct bench {
    lamina_pool *pool;
    size_t rounds;
    const lamina_kernels *kernels;
    lamina_weight_type type;
    uint8_t *weights;  // [panels][K][64] words of any type
    size_t panels;
    float *x;
    float *y;
    size_t columns;
    uint64_t sums[1024];
} bench;

static size_t word_size(lamina_weight_type type) {
    return type == LAMINA_WEIGHT_F32 ? 4 : 2;
}

static size_t panel_bytes(const bench *b) {
    return word_size(b->type) * K * LAMINA_PANEL_ROWS;
}

static void multiply_task(void *context, size_t index, size_t worker) {
    (void)worker;
    const bench *b = context;
    const lamina_panel_task task = {
        .weights = b->weights + index * panel_bytes(b),
        .width = LAMINA_PANEL_ROWS,
        .rows = LAMINA_PANEL_ROWS,
        .k_count = K,
        .x = b->x,
        .x_stride = K,
        .y = b->y + index * LAMINA_PANEL_ROWS,
        .y_stride = ROWS,
        .columns = b->columns,
    };
    b->kernels->multiply_panel[b->type](&task);
}

static void read_task(void *context, size_t index, size_t worker) {
    bench *b = context;
    const uint64_t *words = (const uint64_t *)(const void *)(b->weights + index * panel_bytes(b));
    uint64_t sums[16] = {0};
    for (size_t i = 0; i < panel_bytes(b) / 8; i += 16) {
        for (size_t lane = 0; lane < 16; ++lane) {
            sums[lane] ^= words[i + lane];
        }
    }
    for (size_t lane = 0; lane < 16; ++lane) {
        b->sums[worker] ^= sums[lane];
    }
}

static double seconds(bench *b, void (*task)(void *, size_t, size_t)) {
    const double start = now();
    lamina_pool_run(b->pool, b->panels, task, b);
    return now() - start;
}

static bool is_avx512(lamina_isa isa) {
    return isa == LAMINA_ISA_AVX512 || isa == LAMINA_ISA_AVX512_VBMI2;
}

// ---- peak of fused multiply-add ----------------------------------------------------------------------------------

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static float peak_avx512(size_t steps) {
    __m512 sums[16];
    for (size_t i = 0; i < 16; ++i) sums[i] = _mm512_set1_ps((float)i);
    const __m512 factor = _mm512_set1_ps(0.5f);
    for (size_t step = 0; step < steps; ++step) {
        for (size_t i = 0; i < 16; ++i) sums[i] = _mm512_fmadd_ps(sums[i], factor, factor);
    }
    for (size_t i = 1; i < 16; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_cvtss_f32(sums[0]);
}

__attribute__((target("avx2,fma"))) static float peak_avx2(size_t steps) {
    __m256 sums[12];
    for (size_t i = 0; i < 12; ++i) sums[i] = _mm256_set1_ps((float)i);
    const __m256 factor = _mm256_set1_ps(0.5f);
    for (size_t step = 0; step < steps; ++step) {
        for (size_t i = 0; i < 12; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, factor);
    }
    for (size_t i = 1; i < 12; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
    return _mm256_cvtss_f32(sums[0]);
}
#endif

static volatile float sink;

static void peak_task(void *context, size_t index, size_t worker) {
    (void)index;
    (void)worker;
    const bench *b = context;
    enum { STEPS = 2000000 };
#if defined(__x86_64__)
    sink = is_avx512(b->kernels->isa) ? peak_avx512(STEPS) : peak_avx2(STEPS);
#else
    (void)b;
#endif
}

// GFLOP/s of all threads, registers only; 0 where it is not known.
static double peak(bench *b) {
    const lamina_isa isa = b->kernels->isa;
    const double lanes = is_avx512(isa) ? 16 * 16 : isa == LAMINA_ISA_AVX2 ? 12 * 8 : 0;
    if (lanes == 0) {
        return 0;
    }
    const size_t threads = lamina_pool_threads(b->pool);
    double best = 0;
    for (int round = 0; round < 5; ++round) {
        const double start = now();
        lamina_pool_run(b->pool, threads, peak_task, b);
        best = fmax(best, 2 * lanes * 2000000 * (double)threads / (now() - start) / 1e9);
    }
    return best;
}

// ---- reports ----------------------------------------------------------------------------------------------------

static const char *const type_names[] = {"bf16", "f16", "f32"};

static void report_gemv(bench *b) {
    double rates[MAXIMUM_ROUNDS];
    double reads[MAXIMUM_ROUNDS];
    double ratios[MAXIMUM_ROUNDS];
    b->columns = 1;
    b->panels = ROWS / LAMINA_PANEL_ROWS;
    const double gigabytes = (double)(b->panels * panel_bytes(b)) / 1e9;
    for (size_t round = 0; round < b->rounds; ++round) {
        reads[round] = gigabytes / seconds(b, read_task);
        rates[round] = gigabytes / seconds(b, multiply_task);
        ratios[round] = rates[round] / reads[round];
    }
    printf("%-9s gemv %-5s %7.1f GB/s   read %6.1f GB/s   ratio %5.2f\n", lamina_isa_name(b->kernels->isa),
           type_names[b->type], median(rates, b->rounds), median(reads, b->rounds), median(ratios, b->rounds));
}

static void report_batch(bench *b, double peak_rate) {
    static const size_t batches[] = {4, 16, 64, 512};
    b->panels = SQUARE / LAMINA_PANEL_ROWS;
    for (size_t i = 0; i < sizeof batches / sizeof *batches; ++i) {
        b->columns = batches[i];
        const size_t rounds = batches[i] > 64 ? b->rounds / 4 + 1 : b->rounds;
        double rates[MAXIMUM_ROUNDS];
        for (size_t round = 0; round < rounds; ++round) {
            rates[round] = 2.0 * SQUARE * K * (double)b->columns / seconds(b, multiply_task) / 1e9;
        }
        const double rate = median(rates, rounds);
        printf("%-9s gemm %-5s M %-4zu %7.1f GFLOP/s", lamina_isa_name(b->kernels->isa), type_names[b->type],
               b->columns, rate);
        if (peak_rate > 0) {
            printf("   of peak %5.2f", rate / peak_rate);
        }
        printf("\n");
    }
}

typedef void layout_work(const bench *b, uint8_t *source, uint8_t *target, size_t bytes);

static void split_work(const bench *b, uint8_t *source, uint8_t *target, size_t bytes) {
    b->kernels->split_bf16((const uint16_t *)(const void *)source, target, target + bytes / 2, bytes / 2);
}

static void merge_work(const bench *b, uint8_t *source, uint8_t *target, size_t bytes) {
    b->kernels->merge_bf16(source, source + bytes / 2, (uint16_t *)(void *)target, bytes / 2);
}

static void pack_work(const bench *b, uint8_t *source, uint8_t *target, size_t bytes) {
    const size_t panel = panel_bytes(b);
    for (size_t i = 0; i < bytes / panel; ++i) {
        b->kernels->pack_panel[b->type](source + i * panel, K, 64, 64, K, target + i * panel);
    }
}

static void unpack_work(const bench *b, uint8_t *source, uint8_t *target, size_t bytes) {
    const size_t panel = panel_bytes(b);
    for (size_t i = 0; i < bytes / panel; ++i) {
        b->kernels->unpack_panel[b->type](source + i * panel, 64, 64, K, target + i * panel, K);
    }
}

// From memory (64 MB) and from the caches (1 MB), one thread.
static void report_layout(const bench *b, const char *name, layout_work *work, uint8_t *target) {
    static const size_t sizes[] = {64 << 20, 1 << 20};
    double medians[2];
    for (size_t i = 0; i < 2; ++i) {
        double rates[MAXIMUM_ROUNDS];
        const size_t repeats = ((size_t)64 << 20) / sizes[i];
        for (size_t round = 0; round < b->rounds; ++round) {
            const double start = now();
            for (size_t repeat = 0; repeat < repeats; ++repeat) {
                work(b, b->weights, target, sizes[i]);
            }
            rates[round] = (double)(64 << 20) / (now() - start) / 1e9;
        }
        medians[i] = median(rates, b->rounds);
    }
    printf("%-9s %-11s %6.1f GB/s from memory, %6.1f from cache (bytes of weights, one thread)\n",
           lamina_isa_name(b->kernels->isa), name, medians[0], medians[1]);
}

static void busy_task(void *context, size_t index, size_t worker) {
    (void)index;
    (void)worker;
    const double end = now() + *(const double *)context;
    while (now() < end) {
    }
}

static void report_pool(lamina_pool *pool) {
    enum { RUNS = 4001 };
    static double times[RUNS];
    static const double lengths[] = {0, 5e-6, 20e-6};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        double length = lengths[i];
        for (size_t run = 0; run < RUNS; ++run) {
            const double start = now();
            lamina_pool_run(pool, lamina_pool_threads(pool), busy_task, &length);
            times[run] = (now() - start - length) * 1e6;
        }
        printf("pool      %zu tasks of %4.0f us: fork-join %.2f us over the task", lamina_pool_threads(pool),
               length * 1e6, median(times, RUNS));
        printf(" (90th percentile %.2f)\n", times[RUNS * 9 / 10]);
    }
}

static void report_isa(bench *b, uint8_t *scratch) {
    const double peak_rate = peak(b);
    if (peak_rate > 0) {
        printf("%-9s fma peak %.0f GFLOP/s\n", lamina_isa_name(b->kernels->isa), peak_rate);
    }
    for (int type = 0; type < 3; ++type) {
        b->type = (lamina_weight_type)type;
        report_gemv(b);
        report_batch(b, peak_rate);
    }
    b->type = LAMINA_WEIGHT_BF16;
    report_layout(b, "split bf16", split_work, scratch);
    report_layout(b, "merge bf16", merge_work, scratch);
    report_layout(b, "pack bf16", pack_work, scratch);
    report_layout(b, "unpack bf16", unpack_work, scratch);
    b->type = LAMINA_WEIGHT_F16;
    report_layout(b, "pack f16", pack_work, scratch);
    b->type = LAMINA_WEIGHT_F32;
    report_layout(b, "pack f32", pack_work, scratch);
}

int main(int argument_count, char **arguments) {
    const size_t threads = argument_count > 1 ? (size_t)atoi(arguments[1]) : 1;
    static bench b;
    b.rounds = argument_count > 2 ? (size_t)atoi(arguments[2]) : 15;
    b.pool = lamina_pool_create(threads);
    if (b.pool == NULL || b.rounds == 0 || b.rounds > MAXIMUM_ROUNDS) {
        fprintf(stderr, "usage: kernel_benchmark [threads, 1 to 1024] [rounds, 1 to %d] [gemm]\n", MAXIMUM_ROUNDS);
        return 1;
    }
    const size_t words = (size_t)ROWS * K;
    b.weights = allocate(words * 4);
    b.x = allocate(sizeof(float) * K * MAXIMUM_COLUMNS);
    b.y = allocate(sizeof(float) * ROWS * MAXIMUM_COLUMNS);
    uint8_t *scratch = allocate(64 << 20);
    // 0x3c 0x3c: a small normal number in all three types.
    memset(b.weights, 0x3c, words * 4);
    for (size_t i = 0; i < (size_t)K * MAXIMUM_COLUMNS; ++i) {
        b.x[i] = 1.0f + (float)(i % 7);
    }
    printf("%zu thread(s), medians of %zu rounds, matrix %d x %d (gemv), %d x %d (gemm)\n", threads, b.rounds, ROWS,
           K, SQUARE, K);
    report_pool(b.pool);
    lamina_isa chosen;
    if (!lamina_isa_choose(&chosen)) {
        fprintf(stderr, "error: LAMINA_ISA names no instruction set of this machine\n");
        return 1;
    }
    if (argument_count > 3 && strcmp(arguments[3], "gemm") == 0) {
        b.kernels = lamina_kernels_for(chosen);
        b.type = LAMINA_WEIGHT_BF16;
        report_batch(&b, peak(&b));
        lamina_pool_destroy(b.pool);
        return 0;
    }
    const lamina_isa isas[] = {chosen, LAMINA_ISA_AVX2};
    for (size_t i = 0; i < (is_avx512(chosen) ? 2 : 1); ++i) {
        b.kernels = lamina_kernels_for(isas[i]);
        report_isa(&b, scratch);
    }
    lamina_pool_destroy(b.pool);
    return 0;
}
