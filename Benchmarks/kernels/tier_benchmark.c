// Speed of the exp-tier kernels on normally distributed BF16 weights: decoding and encoding, and the product of coded
// panels beside that of plain ones in turns inside one loop, for each instruction set. Prints a Markdown table;
// GB/s count BF16 words, also where coded ones are read.
// Usage: tier_benchmark [threads] [rounds]
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

#include <math.h>
#include <xxhash.h>

enum {
    K = 4096,
    ROWS = 14336,
    PANELS = ROWS / LAMINA_PANEL_ROWS,
    PANEL_WORDS = K * LAMINA_PANEL_ROWS,
    PANEL_BYTES = 2 * PANEL_WORDS,
    SAMPLE = 1 << 20,
    SMALL = 32768,  // words that stay in the caches with their code
    MAXIMUM_COLUMNS = 512,
    MAXIMUM_ROUNDS = 101,
    MAXIMUM_ISAS = 4,
};

typedef struct bench {
    lamina_pool *pool;
    size_t threads;
    size_t rounds;
    const lamina_kernels *kernels;
    uint16_t *plain;  // [PANELS][PANEL_WORDS]
    uint8_t *coded;   // [PANELS][room]
    size_t room;
    size_t sizes[PANELS];
    float *x;
    float *y;
    size_t columns;
    uint8_t *scratch;  // [threads] of decoding scratch
    uint8_t *target;   // [threads][room]: results that nobody reads
    uint16_t *packed;  // [threads][PANEL_WORDS]
    volatile uint64_t sink;
} bench;

// ---- data ---------------------------------------------------------------------------------------------------------

static double uniform(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static uint16_t normal_weight(uint64_t *state) {
    const double radius = sqrt(-2 * log(uniform(state)));
    const float weight = (float)(0.02 * radius * cos(6.283185307179586 * uniform(state)));
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return (uint16_t)(bits >> 16);
}

// A sample of weights, from another place on for every panel.
static void fill_panels(bench *b) {
    uint64_t state = 1;
    uint16_t *sample = allocate(SAMPLE * sizeof *sample);
    for (size_t i = 0; i < SAMPLE; ++i) {
        sample[i] = normal_weight(&state);
    }
    for (size_t panel = 0; panel < PANELS; ++panel) {
        const size_t start = (size_t)(uniform(&state) * (SAMPLE - PANEL_WORDS));
        memcpy(b->plain + panel * PANEL_WORDS, sample + start, PANEL_BYTES);
    }
    free(sample);
}

// ---- what is measured: tasks over panels, claimed by the pool's threads -----------------------------------------

static void encode_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    b->sizes[index] = b->kernels->encode_tier(b->plain + index * PANEL_WORDS, PANEL_WORDS, b->coded + index * b->room);
}

static void decode_task(void *context, size_t index, size_t worker) {
    bench *b = context;
    uint16_t *words = (uint16_t *)(void *)(b->target + worker * b->room);
    uint8_t *scratch = b->scratch + worker * LAMINA_TIER_SCRATCH;
    if (!b->kernels->decode_tier(b->coded + index * b->room, b->sizes[index], words, PANEL_WORDS, scratch)) {
        abort();
    }
}

static void pack_and_encode(bench *b, size_t index, size_t worker, bool hash) {
    // Rows of K words lie one after the other, as in a checkpoint.
    uint16_t *packed = b->packed + worker * PANEL_WORDS;
    uint8_t *target = b->target + worker * b->room;
    const uint16_t *source = b->plain + index * PANEL_WORDS;
    b->kernels->pack_panel[LAMINA_WEIGHT_BF16](source, K, LAMINA_PANEL_ROWS, LAMINA_PANEL_ROWS, K, packed);
    const size_t size = b->kernels->encode_tier(packed, PANEL_WORDS, target);
    if (hash) {
        b->sink = XXH3_64bits(target, size);
    }
}

static void pack_encode_task(void *context, size_t index, size_t worker) {
    pack_and_encode(context, index, worker, false);
}

static void pack_encode_hash_task(void *context, size_t index, size_t worker) {
    pack_and_encode(context, index, worker, true);
}

// The first words of the first panel, again and again.
static void encode_small_task(void *context, size_t index, size_t worker) {
    (void)index;
    bench *b = context;
    b->sink = b->kernels->encode_tier(b->packed + worker * PANEL_WORDS, SMALL, b->target + worker * b->room);
}

static void decode_small_task(void *context, size_t index, size_t worker) {
    (void)index;
    bench *b = context;
    uint16_t *words = b->packed + worker * PANEL_WORDS;
    uint8_t *scratch = b->scratch + worker * LAMINA_TIER_SCRATCH;
    if (!b->kernels->decode_tier(b->target + worker * b->room, b->sizes[0], words, SMALL, scratch)) {
        abort();
    }
}

static lamina_panel_task panel_task(const bench *b, size_t index, const void *weights) {
    return (lamina_panel_task){
        .weights = weights,
        .width = LAMINA_PANEL_ROWS,
        .rows = LAMINA_PANEL_ROWS,
        .k_count = K,
        .x = b->x,
        .x_stride = K,
        .y = b->y + index * LAMINA_PANEL_ROWS,
        .y_stride = ROWS,
        .columns = b->columns,
    };
}

static void plain_product_task(void *context, size_t index, size_t worker) {
    (void)worker;
    const bench *b = context;
    const lamina_panel_task task = panel_task(b, index, b->plain + index * PANEL_WORDS);
    b->kernels->multiply_panel[LAMINA_WEIGHT_BF16](&task);
}

static void coded_product_task(void *context, size_t index, size_t worker) {
    const bench *b = context;
    const lamina_panel_task task = panel_task(b, index, b->coded + index * b->room);
    if (!b->kernels->multiply_tier_panel(&task, b->sizes[index], b->scratch + worker * LAMINA_TIER_SCRATCH)) {
        abort();
    }
}

static void read_bytes(bench *b, const void *bytes, size_t size) {
    const uint64_t *words = bytes;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < size / 8; i += 8) {
        for (size_t lane = 0; lane < 8; ++lane) {
            sums[lane] ^= words[i + lane];
        }
    }
    for (size_t lane = 1; lane < 8; ++lane) {
        sums[0] ^= sums[lane];
    }
    b->sink = sums[0];
}

static void read_plain_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    read_bytes(b, b->plain + index * PANEL_WORDS, PANEL_BYTES);
}

static void read_coded_task(void *context, size_t index, size_t worker) {
    (void)worker;
    bench *b = context;
    read_bytes(b, b->coded + index * b->room, b->sizes[index]);
}

typedef void pool_task(void *context, size_t index, size_t worker);

// GB/s of words.
static double rate(bench *b, pool_task *task, size_t count, size_t bytes_each) {
    const double start = now();
    lamina_pool_run(b->pool, count, task, b);
    return (double)(count * bytes_each) / (now() - start) / 1e9;
}

// ---- reports ----------------------------------------------------------------------------------------------------

typedef struct row {
    const char *name;
    pool_task *task;
    bool small;
} row;

static const row rows[] = {
    {"read plain words", read_plain_task, false},
    {"read coded words", read_coded_task, false},
    {"decode, from and to the caches (64 KiB)", decode_small_task, true},
    {"decode, from memory to a cached panel", decode_task, false},
    {"encode, from and to the caches (64 KiB)", encode_small_task, true},
    {"encode, from memory to memory", encode_task, false},
    {"pack and encode, from memory", pack_encode_task, false},
    {"pack, encode and XXH3, from memory", pack_encode_hash_task, false},
};

// Every thread's own copy of the first words, as they are and coded.
static void prepare_small(bench *b) {
    for (size_t worker = 0; worker < b->threads; ++worker) {
        memcpy(b->packed + worker * PANEL_WORDS, b->plain, SMALL * sizeof *b->plain);
        b->sizes[0] = b->kernels->encode_tier(b->plain, SMALL, b->target + worker * b->room);
    }
}

static void print_rate_cell(bench *b, const row *what) {
    double rates[MAXIMUM_ROUNDS];
    const size_t size = b->sizes[0];
    if (what->small) {
        prepare_small(b);
    }
    for (size_t round = 0; round < b->rounds; ++round) {
        rates[round] = what->small ? rate(b, what->task, 1024, SMALL * 2) : rate(b, what->task, PANELS, PANEL_BYTES);
    }
    b->sizes[0] = size;
    const double middle = median(rates, b->rounds);
    printf(" %.1f (%.1f) |", middle, rates[b->rounds - 1]);
}

static void print_product_cell(bench *b) {
    double plain[MAXIMUM_ROUNDS];
    double coded[MAXIMUM_ROUNDS];
    double ratios[MAXIMUM_ROUNDS];
    // A part of the matrix is enough work for large batches.
    const size_t panels = b->columns > 64 ? PANELS / 8 : b->columns > 8 ? PANELS / 2 : PANELS;
    for (size_t round = 0; round < b->rounds; ++round) {
        plain[round] = rate(b, plain_product_task, panels, PANEL_BYTES);
        coded[round] = rate(b, coded_product_task, panels, PANEL_BYTES);
        ratios[round] = coded[round] / plain[round];
    }
    const double factor = b->columns >= 16 ? (double)b->columns : 1;
    printf(" %.1f / %.1f (%.2f) |", median(coded, b->rounds) * factor, median(plain, b->rounds) * factor,
           median(ratios, b->rounds));
}

static void print_tables(bench *b, const lamina_isa *isas, size_t isa_count) {
    printf("| %zu thread(s), median of %zu rounds |", b->threads, b->rounds);
    for (size_t i = 0; i < isa_count; ++i) {
        printf(" %s |", lamina_isa_name(isas[i]));
    }
    printf("\n|---|");
    for (size_t i = 0; i < isa_count; ++i) {
        printf("---|");
    }
    printf("\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        printf("| %s, GB/s (best) |", rows[i].name);
        for (size_t isa = 0; isa < isa_count; ++isa) {
            b->kernels = lamina_kernels_for(isas[isa]);
            print_rate_cell(b, &rows[i]);
        }
        printf("\n");
    }
    static const size_t batches[] = {1, 2, 3, 4, 5, 8, 16, 50, 512};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; ++i) {
        b->columns = batches[i];
        printf("| product M = %zu, coded / plain %s (ratio) |", b->columns, b->columns >= 16 ? "GFLOP/s" : "GB/s");
        for (size_t isa = 0; isa < isa_count; ++isa) {
            b->kernels = lamina_kernels_for(isas[isa]);
            print_product_cell(b);
        }
        printf("\n");
        fflush(stdout);
    }
}

int main(int argument_count, char **arguments) {
    static bench b;
    b.threads = argument_count > 1 ? (size_t)atoi(arguments[1]) : 1;
    b.rounds = argument_count > 2 ? (size_t)atoi(arguments[2]) : 15;
    b.pool = lamina_pool_create(b.threads);
    if (b.pool == NULL || b.rounds == 0 || b.rounds > MAXIMUM_ROUNDS) {
        fprintf(stderr, "usage: tier_benchmark [threads, 1 to 1024] [rounds, 1 to %d]\n", MAXIMUM_ROUNDS);
        return 1;
    }
    b.room = lamina_tier_bound(PANEL_WORDS);
    b.plain = allocate((size_t)PANELS * PANEL_BYTES);
    b.coded = allocate(PANELS * b.room);
    b.x = allocate(sizeof(float) * K * MAXIMUM_COLUMNS);
    b.y = allocate(sizeof(float) * ROWS * MAXIMUM_COLUMNS);
    b.scratch = allocate(b.threads * LAMINA_TIER_SCRATCH);
    b.target = allocate(b.threads * b.room);
    b.packed = allocate(b.threads * PANEL_BYTES);
    fill_panels(&b);
    for (size_t i = 0; i < (size_t)K * MAXIMUM_COLUMNS; ++i) {
        b.x[i] = 1.0f + (float)(i % 7);
    }
    lamina_isa isas[MAXIMUM_ISAS];
    if (!lamina_isa_choose(&isas[0])) {
        fprintf(stderr, "error: LAMINA_ISA names no instruction set of this machine\n");
        return 1;
    }
    size_t isa_count = 1;
    for (lamina_isa isa = LAMINA_ISA_AVX512; isa >= LAMINA_ISA_AVX2; --isa) {
        if (isa < isas[0] && lamina_isa_is_available(isa)) {
            isas[isa_count++] = isa;
        }
    }
    b.kernels = lamina_kernels_for(isas[0]);
    lamina_pool_run(b.pool, PANELS, encode_task, &b);
    double coded_bytes = 0;
    for (size_t panel = 0; panel < PANELS; ++panel) {
        coded_bytes += (double)b.sizes[panel];
    }
    printf("Matrix %d x %d, %.1f MB coded as %.1f MB (ratio %.3f); products of a part of it from M = 16 on.\n\n", ROWS,
           K, PANELS * (double)PANEL_BYTES / 1e6, coded_bytes / 1e6, PANELS * (double)PANEL_BYTES / coded_bytes);
    print_tables(&b, isas, isa_count);
    lamina_pool_destroy(b.pool);
    return 0;
}
