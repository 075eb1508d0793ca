// Packing, products, exp-tier, planes and widening against the reference.
#include "check.h"

enum {
    LARGEST_K = 1600,
    LARGEST_COLUMNS = 16,
    Y_STRIDE = 67,
    PANEL_WORDS = LARGEST_K * LAMINA_PANEL_ROWS,
};

static size_t word_size(int type) {
    return type == LAMINA_WEIGHT_F32 ? 4 : type <= LAMINA_WEIGHT_F16 ? 2 : 1;
}

// ---- panels -----------------------------------------------------------------------------------------------------

static uint32_t weights_source[PANEL_WORDS];
static uint32_t panel[PANEL_WORDS];
static uint32_t expected_panel[PANEL_WORDS];
static float activations[LARGEST_COLUMNS * LARGEST_K];
static float found_y[LARGEST_COLUMNS * Y_STRIDE];
static float expected_y[LARGEST_COLUMNS * Y_STRIDE];

static void fill_weights(check *c, int type, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const float value = next_float(c);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        if (type == LAMINA_WEIGHT_F32) {
            weights_source[i] = bits;
        } else if (type == LAMINA_WEIGHT_BF16) {
            ((uint16_t *)weights_source)[i] = (uint16_t)(bits >> 16);
        } else if (type != LAMINA_WEIGHT_F16) {
            ((uint8_t *)weights_source)[i] = (uint8_t)next_random(c);
        } else {
            // Any f16 of exponent 0 to 15: denormals, zeros, and magnitudes below 2.
            ((uint16_t *)weights_source)[i] = (uint16_t)(next_random(c) & 0xbfff);
        }
    }
}

// Any range of rows of `panel`, padding included.
static void check_rows(check *c, int type, size_t width, size_t k) {
    static float found[LAMINA_PANEL_ROWS * (LARGEST_K + 5)];
    static float expected[LAMINA_PANEL_ROWS * (LARGEST_K + 5)];
    const size_t first = next_random(c) % 3 * 5;
    const size_t ranges[][2] = {{0, width}, {first, 1 + next_random(c) % (width - first)}};
    for (size_t i = 0; i < 2; ++i) {
        memset(found, 0xee, sizeof found);
        memset(expected, 0xee, sizeof expected);
        c->kernels->panel_rows(type, panel, width, ranges[i][0], ranges[i][1], k, found, k + 5);
        c->reference->panel_rows(type, panel, width, ranges[i][0], ranges[i][1], k, expected, k + 5);
        expect_same_floats(c, "panel_rows", found, expected, sizeof found / sizeof *found);
    }
}

// Packs `rows` x `k` of weights_source into `panel`; returns the k stored.
static size_t check_packing(check *c, int type, size_t width, size_t rows, size_t k) {
    const size_t stored = type == LAMINA_WEIGHT_BF16 ? (k + 1) / 2 * 2 : k;
    const size_t bytes = stored * width * word_size(type);
    const size_t stride = k + 3;
    fill_weights(c, type, rows * stride);
    memset(panel, 0xee, sizeof panel);
    memset(expected_panel, 0xee, sizeof expected_panel);
    c->kernels->pack_panel[type](weights_source, stride, rows, width, k, panel);
    c->reference->pack_panel[type](weights_source, stride, rows, width, k, expected_panel);
    const bool overrun = memcmp((uint8_t *)panel + bytes, (uint8_t *)expected_panel + bytes, sizeof panel - bytes) != 0;
    expect_same(c, overrun ? "pack_panel (beyond its end)" : "pack_panel", panel, expected_panel,
                overrun ? sizeof panel : bytes);

    static uint32_t unpacked[PANEL_WORDS];
    static uint32_t expected[PANEL_WORDS];
    memset(unpacked, 0xee, sizeof unpacked);
    memset(expected, 0xee, sizeof expected);
    c->kernels->unpack_panel[type](panel, width, rows, k, unpacked, stride);
    c->reference->unpack_panel[type](panel, width, rows, k, expected, stride);
    expect_same(c, "unpack_panel", unpacked, expected, sizeof unpacked);
    check_rows(c, type, width, k);
    return stored;
}

static void multiply(const lamina_kernels *kernels, int type, const lamina_panel_task *whole, float *y, size_t chunk) {
    lamina_panel_task task = *whole;
    task.y = y;
    for (size_t k = 0; k < whole->k_count; k += chunk) {
        task.weights = (const uint8_t *)whole->weights + k * whole->width * word_size(type);
        task.k_begin = k;
        task.k_count = whole->k_count - k < chunk ? whole->k_count - k : chunk;
        kernels->multiply_panel[type](&task);
    }
}

static void check_product(check *c, int type, size_t width, size_t rows, size_t k, size_t columns) {
    const size_t stored = check_packing(c, type, width, rows, k);
    fill(c, activations, columns * LARGEST_K);
    for (size_t column = 0; column < columns && stored > k; ++column) {
        activations[column * LARGEST_K + k] = 0;
    }
    const lamina_panel_task task = {
        .weights = panel, .width = width, .rows = rows, .k_count = stored, .x = activations,
        .x_stride = LARGEST_K, .y_stride = Y_STRIDE, .columns = columns,
    };
    memset(expected_y, 0xee, sizeof expected_y);
    multiply(c->reference, type, &task, expected_y, stored);
    for (size_t chains = 1; chains <= 4; chains *= 4) {
        memset(found_y, 0xee, sizeof found_y);
        multiply(c->kernels, type, &task, found_y, chains * LAMINA_CHAIN_LENGTH);
        expect_same(c, "multiply_panel", found_y, expected_y, sizeof found_y);
    }
}

static void check_products(check *c) {
    static const size_t lengths[] = {1, 2, 63, 129, 511, 512, 513, 1024, 1499};
    for (int type = 0; type < 3; ++type) {
        for (size_t width = 16; width <= LAMINA_PANEL_ROWS; width += 16) {
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
                const size_t rows = width - next_random(c) % 16;
                const size_t columns = i == 0 ? LARGEST_COLUMNS : 1 + next_random(c) % LARGEST_COLUMNS;
                check_product(c, type, width, rows, lengths[i], 1);
                check_product(c, type, width, width, lengths[i], columns);
                check_product(c, type, width, rows, lengths[i], 1 + next_random(c) % 6);
            }
        }
    }
}

static void check_bytes(check *c) {
    static const size_t lengths[] = {1, 3, 63, 64, 65, 130, 257};
    for (int type = LAMINA_WEIGHT_E4M3; type <= LAMINA_WEIGHT_E5M2; ++type) {
        for (size_t width = 16; width <= LAMINA_PANEL_ROWS; width += 16) {
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
                check_packing(c, type, width, width - next_random(c) % 16, lengths[i]);
            }
        }
    }
}

// ---- exp-tier ---------------------------------------------------------------------------------------------------

enum { SEGMENT_BYTES = 3 * PANEL_WORDS };

static uint8_t segment[SEGMENT_BYTES] __attribute__((aligned(64)));
static uint8_t expected_segment[SEGMENT_BYTES] __attribute__((aligned(64)));
static uint8_t tier_scratch[LAMINA_TIER_SCRATCH] __attribute__((aligned(64)));

static void check_decoding(check *c, size_t size, size_t count) {
    static uint16_t found[PANEL_WORDS];
    static uint16_t expected[PANEL_WORDS];
    memset(found, 0, sizeof found);
    memset(expected, 0, sizeof expected);
    const bool accepted = c->kernels->decode_tier(segment, size, found, count, tier_scratch);
    const bool expected_accepted = c->reference->decode_tier(segment, size, expected, count, NULL);
    expect_same(c, "decode_tier's answer", &accepted, &expected_accepted, sizeof accepted);
    if (accepted && expected_accepted) {
        expect_same(c, "decode_tier", found, expected, sizeof found);
    }
}

static void check_segment(check *c, const void *words, size_t count) {
    memset(segment, 0xee, sizeof segment);
    memset(expected_segment, 0xee, sizeof expected_segment);
    const size_t size = c->kernels->encode_tier(words, count, segment);
    c->reference->encode_tier(words, count, expected_segment);
    expect_same(c, "encode_tier", segment, expected_segment, sizeof segment);
    check_decoding(c, size, count);
    for (size_t damage = 0; damage < 8; ++damage) {
        memcpy(segment, expected_segment, size);
        const uint64_t random = next_random(c);
        segment[(random >> 8) % (damage % 2 == 0 ? size : 64 + count / 4)] ^= (uint8_t)(random | 1);
        check_decoding(c, size, count);
    }
}

static void check_segments(check *c) {
    for (size_t count = 1; count <= PANEL_WORDS; count += 1 + count / 5) {
        fill_weights(c, LAMINA_WEIGHT_BF16, count);
        check_segment(c, weights_source, count);
        fill_weights(c, LAMINA_WEIGHT_F32, count);  // its low halves hold every exponent
        check_segment(c, weights_source, count);
    }
}

static void check_tier_product(check *c, size_t width, size_t rows, size_t k, size_t columns) {
    const size_t stored = check_packing(c, LAMINA_WEIGHT_BF16, width, rows, k);
    fill(c, activations, columns * LARGEST_K);
    lamina_panel_task task = {
        .weights = panel, .width = width, .rows = rows, .k_count = stored, .x = activations,
        .x_stride = LARGEST_K, .y = expected_y, .y_stride = Y_STRIDE, .columns = columns,
    };
    memset(expected_y, 0xee, sizeof expected_y);
    memset(found_y, 0xee, sizeof found_y);
    c->reference->multiply_panel[LAMINA_WEIGHT_BF16](&task);
    const size_t size = c->kernels->encode_tier((const uint16_t *)panel, stored * width, segment);
    task.weights = segment;
    task.y = found_y;
    const bool accepted = c->kernels->multiply_tier_panel(&task, size, tier_scratch);
    expect_same(c, "multiply_tier_panel's answer", &accepted, &(bool){true}, sizeof accepted);
    expect_same(c, "multiply_tier_panel", found_y, expected_y, sizeof found_y);
}

// ---- planes and widening ----------------------------------------------------------------------------------------

static void check_planes(check *c) {
    enum { COUNT = 65536 + 21 };
    static uint16_t words[COUNT];
    static uint32_t words_32[COUNT];
    static uint8_t found[4][COUNT];
    static uint8_t expected[4][COUNT];
    for (size_t i = 0; i < COUNT; ++i) {
        words[i] = (uint16_t)i;
        words_32[i] = (uint32_t)next_random(c);
    }
    uint8_t *const found_planes[4] = {found[0], found[1], found[2], found[3]};
    uint8_t *const expected_planes[4] = {expected[0], expected[1], expected[2], expected[3]};
    const uint8_t *const planes[4] = {found[0], found[1], found[2], found[3]};
    static uint16_t merged[COUNT];
    static uint32_t merged_32[COUNT];

    c->kernels->split_bf16(words, found[0], found[1], COUNT);
    c->reference->split_bf16(words, expected[0], expected[1], COUNT);
    expect_same(c, "split_bf16", found, expected, sizeof found[0] * 2);
    c->kernels->merge_bf16(found[0], found[1], merged, COUNT);
    expect_same(c, "merge_bf16", merged, words, sizeof merged);

    c->kernels->split_f16(words, found[0], found[1], COUNT);
    c->reference->split_f16(words, expected[0], expected[1], COUNT);
    expect_same(c, "split_f16", found, expected, sizeof found[0] * 2);
    c->kernels->merge_f16(found[0], found[1], merged, COUNT);
    expect_same(c, "merge_f16", merged, words, sizeof merged);

    c->kernels->split_f32(words_32, found_planes, COUNT);
    c->reference->split_f32(words_32, expected_planes, COUNT);
    expect_same(c, "split_f32", found, expected, sizeof found);
    c->kernels->merge_f32(planes, merged_32, COUNT);
    expect_same(c, "merge_f32", merged_32, words_32, sizeof merged_32);

    static float widened[COUNT];
    static float expected_widened[COUNT];
    for (int type = 0; type < 3; ++type) {
        const void *source = type == LAMINA_WEIGHT_F32 ? (const void *)words_32 : words;
        c->kernels->widen[type](source, widened, COUNT);
        c->reference->widen[type](source, expected_widened, COUNT);
        expect_same(c, "widen", widened, expected_widened, sizeof widened);
    }
}

static void check_f8(check *c) {
    enum { COUNT = 256 + 21 };
    static uint8_t codes[COUNT];
    static float found[COUNT];
    static float expected[COUNT];
    for (size_t i = 0; i < COUNT; ++i) {
        codes[i] = (uint8_t)i;
    }
    for (int type = LAMINA_WEIGHT_E4M3; type <= LAMINA_WEIGHT_E5M2; ++type) {
        for (int exponent = -140; exponent <= 120; exponent += 20) {
            const float scale = ldexpf(1.7f, exponent);
            c->kernels->widen_f8((lamina_weight_type)type, codes, scale, found, COUNT);
            c->reference->widen_f8((lamina_weight_type)type, codes, scale, expected, COUNT);
            expect_same_floats(c, "widen_f8", found, expected, COUNT);
        }
    }
}

void check_panels(check *c) {
    check_products(c);
    check_bytes(c);
    check_segments(c);
    for (size_t columns = 1; columns <= LARGEST_COLUMNS; ++columns) {
        check_tier_product(c, 64, 64 - columns % 3, 1498, columns);
        check_tier_product(c, 16 + columns % 3 * 16, 16 + columns % 3 * 16 - 5, 400 + 60 * columns, columns);
    }
    check_planes(c);
    check_f8(c);
}
