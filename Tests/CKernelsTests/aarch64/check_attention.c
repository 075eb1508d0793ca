// The key-value cache and attention against the reference.
#include "check.h"

enum {
    SHORT = 160,
    POSITIONS = 2112,  // more than a cache is taken to hold
    BLOCKS = POSITIONS / LAMINA_KV_BLOCK,
    DIMENSION = 80,
    QUERIES = LAMINA_ATTENTION_QUERIES,
    BLOCK_BYTES = DIMENSION * LAMINA_KV_BLOCK * 4,
};

static float query[QUERIES * (DIMENSION + 1)];
static float stored[DIMENSION];
static float scores[QUERIES * (POSITIONS + 16)];
static uint8_t keys[BLOCKS * BLOCK_BYTES] __attribute__((aligned(64)));
static uint8_t values[BLOCKS * BLOCK_BYTES] __attribute__((aligned(64)));
static uint8_t expected_block[BLOCK_BYTES] __attribute__((aligned(64)));

// Values from denormals of f16 to beyond its range; now and then nothing but zeros.
static void fill_stored(check *c, size_t dimension) {
    static const int exponents[] = {0, 0, 0, -20, -30, 14, 18, -200};
    const int exponent = exponents[next_random(c) % (sizeof exponents / sizeof *exponents)];
    fill(c, stored, dimension);
    for (size_t i = 0; i < dimension; ++i) {
        stored[i] = ldexpf(stored[i], exponent);
    }
}

static void check_stores(check *c, lamina_kv_type type, size_t dimension) {
    const size_t bytes = lamina_kv_block_bytes(type, dimension);
    for (size_t i = 0; i < 64; ++i) {
        const size_t lane = next_random(c) % LAMINA_KV_BLOCK;
        fill_stored(c, dimension);
        memset(keys, 0xee, bytes);
        memset(expected_block, 0xee, bytes);
        c->kernels->store_key(type, keys, dimension, lane, stored);
        c->reference->store_key(type, expected_block, dimension, lane, stored);
        expect_same(c, "store_key", keys, expected_block, bytes);
        memset(values, 0xee, bytes);
        memset(expected_block, 0xee, bytes);
        c->kernels->store_value(type, values, dimension, lane, stored);
        c->reference->store_value(type, expected_block, dimension, lane, stored);
        expect_same(c, "store_value", values, expected_block, bytes);
    }
}

// Keys and values of first..<count in a ring; whatever else it holds is NaN in every type.
static void fill_cache(check *c, const lamina_attention_task *task) {
    memset(keys, 0xff, sizeof keys);
    memset(values, 0xff, sizeof values);
    for (size_t position = task->first; position < task->count; ++position) {
        const size_t place = position / LAMINA_KV_BLOCK % task->ring_blocks;
        const size_t lane = position % LAMINA_KV_BLOCK;
        fill(c, stored, DIMENSION);
        c->reference->store_key(task->type, keys + place * lamina_kv_block_bytes(task->type, task->head_dim),
                                task->head_dim, lane, stored);
        fill(c, stored, DIMENSION);
        c->reference->store_value(task->type, values + place * lamina_kv_block_bytes(task->type, task->value_dim),
                                  task->value_dim, lane, stored);
    }
}

static void check_task(check *c, lamina_attention_task task) {
    static float found[QUERIES * (DIMENSION + 3)];
    static float expected[QUERIES * (DIMENSION + 3)];
    fill(c, query, sizeof query / sizeof *query);
    fill_cache(c, &task);
    memset(found, 0xee, sizeof found);
    memset(expected, 0xee, sizeof expected);
    task.query = query;
    task.keys = keys;
    task.values = task.values == NULL ? NULL : values;
    task.scores = scores;
    task.score_stride = POSITIONS + 16;
    task.output = found;
    task.output_stride = task.value_dim + 3;
    c->kernels->attend(&task);
    task.output = expected;
    c->reference->attend(&task);
    expect_same(c, "attend", found, expected, sizeof found);
}

// A plain task, one with everything else in it, and both with latent values.
static void check_tasks(check *c, lamina_kv_type type, size_t head_dim, size_t value_dim, size_t first, size_t count,
                        size_t queries) {
    static const float slopes[QUERIES] = {0.5f, 0.25f, 0.0625f};
    lamina_attention_task task = {
        .type = type, .query_stride = head_dim + 1, .queries = queries, .values = values, .ring_blocks = BLOCKS,
        .head_dim = head_dim, .value_dim = value_dim, .first = first, .count = count, .scale = 0.7f,
    };
    check_task(c, task);
    task.values = NULL;
    task.value_dim = value_dim < head_dim ? value_dim : head_dim;
    check_task(c, task);
    task.softcap = 1.5f;
    task.slopes = slopes;
    task.query_position = count - 1;
    task.ring_blocks = (count + LAMINA_KV_BLOCK - 1) / LAMINA_KV_BLOCK - first / LAMINA_KV_BLOCK;
    check_task(c, task);
    task.values = values;
    task.value_dim = value_dim;
    check_task(c, task);
}

void check_attention(check *c) {
    static const size_t dimensions[][2] = {{64, 64}, {80, 80}, {6, 6}, {80, 48}, {33, 65}};
    for (int type = LAMINA_KV_F32; type <= LAMINA_KV_Q8; ++type) {
        for (size_t i = 0; i < sizeof dimensions / sizeof *dimensions; ++i) {
            const size_t *d = dimensions[i];
            check_stores(c, (lamina_kv_type)type, d[0]);
            for (size_t count = 1; count <= SHORT; count += 1 + count / 3) {
                for (size_t queries = 1; queries <= QUERIES; ++queries) {
                    const size_t firsts[] = {0, count / 3, count - 1};
                    const size_t first = firsts[next_random(c) % 3];
                    check_tasks(c, (lamina_kv_type)type, d[0], d[1], first, count, queries);
                }
            }
        }
        for (size_t queries = 1; queries <= QUERIES; queries += QUERIES - 1) {
            check_tasks(c, (lamina_kv_type)type, DIMENSION, DIMENSION, 17, POSITIONS - 5, queries);
        }
    }
}
