// Speed of narrow panels: one column, beside a read of the same memory and beside the same codes as bytes, in turns
// inside one loop; making them of bytes, and bytes of them. Codes are normally distributed, as ecq's are.
// Usage: narrow_benchmark [threads] [rounds] [standard deviations of codes...]
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

#include <math.h>
#include <stdbool.h>

enum {
    K = 2048,
    PANELS = 8192,  // 256 MiB of codes as bytes
    TASK_PANELS = 4,
    TASKS = PANELS / TASK_PANELS,
    BLOCKS = K / LAMINA_QUANTIZED_BLOCK,
    MAXIMUM_ROUNDS = 101,
    MOST_DIFFERENT = 64,  // panels whose codes are drawn
};

typedef struct bench {
    lamina_pool *pool;
    const lamina_kernels *kernels;
    uint8_t *row8;
    uint8_t *narrow;
    size_t panel_bytes;
    size_t offsets[PANELS + 1];
    lamina_quantized_activations activations;
    float *y;
    uint64_t sums[1024];
} bench;

static double next_uniform(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 33) + 0.5) / 2147483648.0;
}

static uint8_t next_code(uint64_t *state, double deviation) {
    const double radius = sqrt(-2 * log(next_uniform(state)));
    const double code = rint(deviation * radius * cos(2 * 3.14159265358979 * next_uniform(state)));
    return (uint8_t)(128 + fmax(-127, fmin(127, code)));
}

static void fill_panels(bench *b, double deviation) {
    uint64_t state = 1;
    for (size_t panel = 0; panel < PANELS; ++panel) {
        uint8_t *bytes = b->row8 + panel * b->panel_bytes;
        if (panel >= MOST_DIFFERENT) {
            memcpy(bytes, b->row8 + panel % MOST_DIFFERENT * b->panel_bytes, b->panel_bytes);
            continue;
        }
        memset(bytes, 0x3c, 32);
        memset(bytes + 32, 0x80, 32);
        for (size_t i = 64; i < b->panel_bytes; ++i) {
            bytes[i] = next_code(&state, deviation);
        }
    }
}

static void narrow_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    for (size_t panel = index * TASK_PANELS; panel < (index + 1) * TASK_PANELS; ++panel) {
        b->kernels->narrow_panel(b->row8 + panel * b->panel_bytes, K, b->narrow + b->offsets[panel]);
    }
}

static void restore_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    for (size_t panel = index * TASK_PANELS; panel < (index + 1) * TASK_PANELS; ++panel) {
        b->kernels->restore_panel(b->narrow + b->offsets[panel], K, b->row8 + panel * b->panel_bytes);
    }
}

static lamina_quantized_task task_of(bench *b, size_t index, lamina_quantized_panel *panels, bool is_narrow) {
    for (size_t i = 0; i < TASK_PANELS; ++i) {
        const size_t panel = index * TASK_PANELS + i;
        panels[i] = (lamina_quantized_panel){
            .bytes = is_narrow ? b->narrow + b->offsets[panel] : b->row8 + panel * b->panel_bytes,
            .columns = K,
            .row = panel * LAMINA_QUANTIZED_ROWS,
            .rows = LAMINA_QUANTIZED_ROWS,
        };
    }
    return (lamina_quantized_task){
        .panels = panels,
        .panel_count = TASK_PANELS,
        .x = b->activations,
        .y = b->y + index * TASK_PANELS * LAMINA_QUANTIZED_ROWS,
        .columns = 1,
    };
}

static void multiply_narrow_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    lamina_quantized_panel panels[TASK_PANELS];
    const lamina_quantized_task task = task_of(b, index, panels, true);
    b->kernels->multiply_narrow(&task);
}

static void multiply_row8_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    lamina_quantized_panel panels[TASK_PANELS];
    const lamina_quantized_task task = task_of(b, index, panels, false);
    b->kernels->multiply_quantized[LAMINA_SCHEME_ROW8](&task);
}

// 64 bytes at a time, as wide as the kernels' loads.
typedef uint64_t wide __attribute__((vector_size(64)));

#if defined(__x86_64__)
__attribute__((target("avx512f")))
#endif
static uint64_t sum_of(const uint8_t *bytes, size_t count) {
    wide sums[4] = {{0}};
    for (size_t i = 0; i + 256 <= count; i += 256) {
        for (size_t j = 0; j < 4; ++j) {
            wide line;
            memcpy(&line, bytes + i + 64 * j, sizeof line);
            sums[j] ^= line;
        }
    }
    const wide all = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
    return all[0] ^ all[1] ^ all[2] ^ all[3] ^ all[4] ^ all[5] ^ all[6] ^ all[7];
}

static void read_task(void *context, size_t index, size_t worker) {
    bench *b = context;
    const size_t begin = b->offsets[index * TASK_PANELS];
    b->sums[worker] ^= sum_of(b->narrow + begin, b->offsets[(index + 1) * TASK_PANELS] - begin);
}

static double seconds(bench *b, void (*task)(void *, size_t, size_t)) {
    const double begin = now();
    lamina_pool_run(b->pool, TASKS, task, b);
    return now() - begin;
}

static void measure(bench *b, double deviation, size_t rounds) {
    double narrow[MAXIMUM_ROUNDS];
    double row8[MAXIMUM_ROUNDS];
    double read[MAXIMUM_ROUNDS];
    fill_panels(b, deviation);
    b->offsets[0] = 0;
    for (size_t panel = 0; panel < PANELS; ++panel) {
        const size_t bytes = b->kernels->narrow_panel(b->row8 + panel * b->panel_bytes, K, b->narrow + b->offsets[panel]);
        b->offsets[panel + 1] = b->offsets[panel] + bytes;
    }
    for (size_t round = 0; round < rounds; ++round) {
        read[round] = seconds(b, read_task);
        narrow[round] = seconds(b, multiply_narrow_task);
        row8[round] = seconds(b, multiply_row8_task);
    }
    const double weights = (double)PANELS * LAMINA_QUANTIZED_ROWS * K;
    const double bytes = (double)b->offsets[PANELS];
    const double made = seconds(b, narrow_task);
    const double restored = seconds(b, restore_task);
    const double time = median(narrow, rounds);
    printf("%-12s %6.2f  %5.2f  %6.1f GB/s  %6.1f GB/s  %5.2f  %6.1f G/s  %6.1f G/s  %5.2f  %6.1f G/s  %6.1f G/s\n",
           lamina_isa_name(b->kernels->isa), deviation, 8 * bytes / weights, bytes / time / 1e9,
           bytes / median(read, rounds) / 1e9, median(read, rounds) / time, weights / time / 1e9,
           weights / median(row8, rounds) / 1e9, median(row8, rounds) / time, weights / made / 1e9,
           weights / restored / 1e9);
}

int main(int argument_count, char **arguments) {
    static bench b;
    const size_t threads = argument_count > 1 ? (size_t)atoi(arguments[1]) : 1;
    const size_t rounds = argument_count > 2 ? (size_t)atoi(arguments[2]) : 9;
    lamina_isa isa;
    b.pool = lamina_pool_create(threads);
    if (b.pool == NULL || rounds == 0 || rounds > MAXIMUM_ROUNDS || !lamina_isa_choose(&isa)) {
        fprintf(stderr, "usage: narrow_benchmark [threads] [rounds, 1 to %d] [deviations...]\n", MAXIMUM_ROUNDS);
        return 1;
    }
    b.kernels = lamina_kernels_for(isa);
    b.panel_bytes = lamina_quantized_panel_bytes(LAMINA_SCHEME_ROW8, K);
    b.row8 = allocate(PANELS * b.panel_bytes);
    b.narrow = allocate(PANELS * lamina_narrow_bound(K));
    b.y = allocate(sizeof(float) * PANELS * LAMINA_QUANTIZED_ROWS);
    float *x = allocate(sizeof(float) * K);
    int8_t *codes = allocate(K);
    float *scales = allocate(sizeof(float) * BLOCKS);
    int32_t *corrections = allocate(sizeof(int32_t) * BLOCKS);
    for (size_t i = 0; i < K; ++i) {
        x[i] = 1.0f + (float)(i % 7);
    }
    b.kernels->quantize_activations(x, K, K, codes, scales, corrections);
    b.activations = (lamina_quantized_activations){codes, K, scales, corrections, BLOCKS};
    printf("%zu thread(s), medians of %zu rounds\n", threads, rounds);
    printf("instructions  sigma   bits   product      read     share of it  weights  as bytes  ratio  made  restored\n");
    for (int i = 3; i < argument_count; ++i) {
        measure(&b, atof(arguments[i]), rounds);
    }
    if (argument_count <= 3) {
        static const double deviations[] = {1.7, 2.8, 4.6, 6.5, 11, 22};
        for (size_t i = 0; i < sizeof deviations / sizeof *deviations; ++i) {
            measure(&b, deviations[i], rounds);
        }
    }
    lamina_pool_destroy(b.pool);
    return 0;
}
