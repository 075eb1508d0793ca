// Speed of attention for every type of key-value cache, the types in turns inside one loop. Keys and values come from
// memory, as they do when weights have gone through the caches since the last token, or from the caches.
// Usage: attention_benchmark [threads] [rounds]
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

enum {
    TYPES = 4,
    MOST_ROUNDS = 101,
    MOST_POSITIONS = 8192,
    MOST_DIMENSIONS = 576,
    MOST_THREADS = 64,
    MEMORY_BYTES = 96 << 20,  // per type, beyond the caches
};

static const char *const type_names[TYPES] = {"f32", "f16", "bf16", "q8"};

typedef struct shape {
    const char *name;
    size_t head_dim;
    size_t value_dim;
    bool latent;  // values are the beginnings of the keys
    size_t positions;
} shape;

typedef struct bench {
    lamina_pool *pool;
    const lamina_kernels *kernels;
    shape shape;
    size_t queries;
    lamina_kv_type type;
    uint8_t *memory[TYPES];
    size_t heads;  // whose caches lie one behind the other
    float *query;
    float *scores;  // [threads][queries][positions]
    float *output;  // [threads][queries][dimensions]
} bench;

static size_t block_count(const bench *b) {
    return (b->shape.positions + LAMINA_KV_BLOCK - 1) / LAMINA_KV_BLOCK;
}

static size_t key_bytes(const bench *b) {
    return block_count(b) * lamina_kv_block_bytes(b->type, b->shape.head_dim);
}

static size_t head_bytes(const bench *b) {
    const size_t values = block_count(b) * lamina_kv_block_bytes(b->type, b->shape.value_dim);
    return key_bytes(b) + (b->shape.latent ? 0 : values);
}

static void attend_task(void *context, size_t index, size_t worker) {
    const bench *b = context;
    const uint8_t *keys = b->memory[b->type] + index % b->heads * head_bytes(b);
    const lamina_attention_task task = {
        .type = b->type,
        .query = b->query,
        .query_stride = b->shape.head_dim,
        .queries = b->queries,
        .keys = keys,
        .values = b->shape.latent ? NULL : keys + key_bytes(b),
        .ring_blocks = block_count(b),
        .head_dim = b->shape.head_dim,
        .value_dim = b->shape.value_dim,
        .count = b->shape.positions,
        .scale = 0.1f,
        .scores = b->scores + worker * LAMINA_ATTENTION_QUERIES * MOST_POSITIONS,
        .score_stride = MOST_POSITIONS,
        .output = b->output + worker * LAMINA_ATTENTION_QUERIES * MOST_DIMENSIONS,
        .output_stride = MOST_DIMENSIONS,
    };
    b->kernels->attend(&task);
}

// Stores one head and copies it over the memory.
static void fill(bench *b) {
    float source[MOST_DIMENSIONS];
    uint8_t *memory = b->memory[b->type];
    for (size_t position = 0; position < b->shape.positions; ++position) {
        const size_t block = position / LAMINA_KV_BLOCK;
        const size_t lane = position % LAMINA_KV_BLOCK;
        for (size_t d = 0; d < b->shape.head_dim; ++d) {
            source[d] = (float)((position * 31 + d * 17) % 101) * 0.01f - 0.5f;
        }
        uint8_t *keys = memory + block * lamina_kv_block_bytes(b->type, b->shape.head_dim);
        b->kernels->store_key(b->type, keys, b->shape.head_dim, lane, source);
        if (!b->shape.latent) {
            uint8_t *values = memory + key_bytes(b) + block * lamina_kv_block_bytes(b->type, b->shape.value_dim);
            b->kernels->store_value(b->type, values, b->shape.value_dim, lane, source);
        }
    }
    for (size_t head = 1; head < MEMORY_BYTES / head_bytes(b); ++head) {
        memcpy(memory + head * head_bytes(b), memory, head_bytes(b));
    }
}

static double flops(const bench *b) {
    return 2.0 * (double)(b->queries * b->shape.positions * (b->shape.head_dim + b->shape.value_dim));
}

// GFLOP/s of one round of some 20 ms.
static double round_rate(bench *b) {
    const size_t tasks = (size_t)(4e8 * (double)lamina_pool_threads(b->pool) / flops(b)) + b->queries;
    const double start = now();
    lamina_pool_run(b->pool, tasks, attend_task, b);
    return flops(b) * (double)tasks / (now() - start) / 1e9;
}

static void report(bench *b, size_t rounds, bool from_memory) {
    static double rates[TYPES][MOST_ROUNDS];
    static double ratios[TYPES][MOST_ROUNDS];
    for (size_t round = 0; round < rounds; ++round) {
        for (size_t type = 0; type < TYPES; ++type) {
            b->type = (lamina_kv_type)type;
            b->heads = from_memory ? MEMORY_BYTES / head_bytes(b) : lamina_pool_threads(b->pool);
            rates[type][round] = round_rate(b);
            ratios[type][round] = rates[type][round] / rates[0][round];
        }
    }
    printf("%-11s %-9s %5zu positions, %zu queries, from %-6s", lamina_isa_name(b->kernels->isa), b->shape.name,
           b->shape.positions, b->queries, from_memory ? "memory" : "cache");
    for (size_t type = 0; type < TYPES; ++type) {
        printf("  %s %5.1f (%.2f)", type_names[type], median(rates[type], rounds), median(ratios[type], rounds));
    }
    printf("\n");
}

static void report_isa(bench *b, size_t rounds) {
    static const shape shapes[] = {
        {"64", 64, 64, false, 512},   {"64", 64, 64, false, MOST_POSITIONS},
        {"128", 128, 128, false, 512}, {"128", 128, 128, false, MOST_POSITIONS},
        {"latent", 576, 512, true, 512}, {"latent", 576, 512, true, MOST_POSITIONS},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        b->shape = shapes[i];
        for (int type = 0; type < TYPES; ++type) {
            b->type = (lamina_kv_type)type;
            fill(b);
        }
        for (b->queries = 1; b->queries <= LAMINA_ATTENTION_QUERIES; b->queries *= 4) {
            report(b, rounds, true);
            if (b->shape.positions == 512) {
                report(b, rounds, false);
            }
        }
    }
}

int main(int argument_count, char **arguments) {
    const size_t threads = argument_count > 1 ? (size_t)atoi(arguments[1]) : 1;
    const size_t rounds = argument_count > 2 ? (size_t)atoi(arguments[2]) : 11;
    static bench b;
    b.pool = threads <= MOST_THREADS ? lamina_pool_create(threads) : NULL;
    if (b.pool == NULL || rounds == 0 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: attention_benchmark [threads, 1 to %d] [rounds, 1 to %d]\n", MOST_THREADS, MOST_ROUNDS);
        return 1;
    }
    lamina_isa chosen;
    if (!lamina_isa_choose(&chosen)) {
        fprintf(stderr, "error: LAMINA_ISA names no instruction set of this machine\n");
        return 1;
    }
    for (size_t type = 0; type < TYPES; ++type) {
        b.memory[type] = allocate(MEMORY_BYTES);
    }
    b.query = allocate(sizeof(float) * LAMINA_ATTENTION_QUERIES * MOST_DIMENSIONS);
    b.scores = allocate(sizeof(float) * threads * LAMINA_ATTENTION_QUERIES * MOST_POSITIONS);
    b.output = allocate(sizeof(float) * threads * LAMINA_ATTENTION_QUERIES * MOST_DIMENSIONS);
    for (size_t i = 0; i < LAMINA_ATTENTION_QUERIES * MOST_DIMENSIONS; ++i) {
        b.query[i] = (float)(i % 13) * 0.1f - 0.6f;
    }
    printf("%zu thread(s), GFLOP/s, medians of %zu rounds (ratio to f32 in the same round)\n", threads, rounds);
    const lamina_isa isas[] = {chosen, LAMINA_ISA_AVX2};
    const bool both = chosen > LAMINA_ISA_AVX2;
    for (size_t i = 0; i < (both ? 2 : 1); ++i) {
        b.kernels = lamina_kernels_for(isas[i]);
        report_isa(&b, rounds);
    }
    lamina_pool_destroy(b.pool);
    return 0;
}
