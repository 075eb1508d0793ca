// Quantized weights and int8 activations against the reference.
#include "check.h"

enum {
    LARGEST_COLUMNS = 2100,
    PADDED = (LARGEST_COLUMNS + LAMINA_QUANTIZED_BLOCK - 1) / LAMINA_QUANTIZED_BLOCK * LAMINA_QUANTIZED_BLOCK,
    BLOCKS = PADDED / LAMINA_QUANTIZED_BLOCK,
    PANELS = 4,
    LARGEST_BATCH = 40,
    ROWS = PANELS * LAMINA_QUANTIZED_ROWS,
    Y_STRIDE = ROWS + 3,
};

static uint8_t slot[PANELS * (PADDED * 20 + 4096)] __attribute__((aligned(64)));
static int8_t codes[LARGEST_BATCH * PADDED];
static float scales[LARGEST_BATCH * BLOCKS];
static int32_t corrections[LARGEST_BATCH * BLOCKS];

// ---- activations ------------------------------------------------------------------------------------------------

// Blocks of zeros, of denormals, of outliers, with a NaN and with infinities among ordinary ones.
static void fill_activations(check *c, float *x, size_t count) {
    fill(c, x, count);
    for (size_t block = 0; block < count; block += LAMINA_QUANTIZED_BLOCK) {
        static const int exponents[] = {0, 0, 0, 0, 0, 0, 30, -120, -126, -140, -200, 126};
        const int exponent = exponents[next_random(c) % (sizeof exponents / sizeof *exponents)];
        const size_t end = block + LAMINA_QUANTIZED_BLOCK < count ? block + LAMINA_QUANTIZED_BLOCK : count;
        for (size_t i = block; i < end; ++i) {
            x[i] = ldexpf(x[i], exponent);
        }
        const uint64_t random = next_random(c);
        const size_t odd = block + (random >> 32) % (end - block);
        switch (random & 63) {
        case 0: x[odd] = NAN; break;
        case 1: x[odd] = INFINITY; break;
        case 2: x[odd] = -INFINITY; break;
        default: break;
        }
    }
}

static void check_activations(check *c, size_t count) {
    static float x[LARGEST_COLUMNS];
    static int8_t expected_codes[PADDED];
    static float expected_scales[BLOCKS];
    static int32_t expected_corrections[BLOCKS];
    const size_t padded = lamina_quantized_columns(count);
    const size_t blocks = padded / LAMINA_QUANTIZED_BLOCK;
    fill_activations(c, x, count);
    c->kernels->quantize_activations(x, count, padded, codes, scales, corrections);
    c->reference->quantize_activations(x, count, padded, expected_codes, expected_scales, expected_corrections);
    expect_same(c, "quantize_activations' codes", codes, expected_codes, padded);
    expect_same_floats(c, "quantize_activations' scales", scales, expected_scales, blocks);
    expect_same(c, "quantize_activations' corrections", corrections, expected_corrections,
                blocks * sizeof *corrections);
}

// ---- panels -----------------------------------------------------------------------------------------------------

static void put_floats(check *c, uint8_t *target, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const float value = next_float(c);
        memcpy(target + i * sizeof value, &value, sizeof value);
    }
}

// Magnitudes from 2^-14 to 2^17, or zero.
static void put_halves(check *c, uint8_t *target, size_t count, uint16_t lowest, uint16_t range) {
    for (size_t i = 0; i < count; ++i) {
        const uint64_t random = next_random(c);
        const uint16_t half = random % 16 == 0 ? 0 : (uint16_t)(lowest + (random >> 8) % range);
        memcpy(target + i * sizeof half, &half, sizeof half);
    }
}

static void put_escapes(check *c, uint8_t *panel, size_t columns) {
    const size_t count = next_random(c) % (LAMINA_ESCAPES + 1);
    size_t k = 0;
    for (size_t i = 0; i < LAMINA_ESCAPES; ++i) {
        k += 1 + next_random(c) % (columns / LAMINA_ESCAPES + 1);
        uint64_t escape = LAMINA_NO_ESCAPE;
        if (i < count && k < columns) {
            const uint64_t row = next_random(c) % LAMINA_QUANTIZED_ROWS;
            escape = (uint64_t)k << 24 | row << 16 | (next_random(c) & 0xffff);
            panel[64 + k / 4 * 64 + 4 * row + k % 4] = 0;
        }
        memcpy(panel + 32 + i * sizeof escape, &escape, sizeof escape);
    }
}

// Bytes of any value, but scales that are numbers.
static void fill_panel(check *c, lamina_scheme scheme, size_t columns, uint8_t *panel) {
    const size_t entries = lamina_quantized_entries(scheme, columns);
    switch (scheme) {
    case LAMINA_SCHEME_ROW8:
        put_halves(c, panel, LAMINA_QUANTIZED_ROWS, 0x3c00, 0x300);
        put_escapes(c, panel, columns);
        break;
    case LAMINA_SCHEME_Q8:
    case LAMINA_SCHEME_Q4:
        for (size_t k = 0; k < lamina_quantized_columns(columns); k += LAMINA_CHAIN_LENGTH) {
            put_floats(c, panel, LAMINA_QUANTIZED_ROWS);
            panel += lamina_quantized_panel_bytes(scheme, LAMINA_CHAIN_LENGTH);
        }
        break;
    case LAMINA_SCHEME_NF4: put_halves(c, panel, entries * LAMINA_QUANTIZED_ROWS, 1, 0x7bff); break;
    case LAMINA_SCHEME_NF4_DOUBLE: put_floats(c, panel, LAMINA_QUANTIZED_ROWS); break;
    case LAMINA_SCHEME_INT8_DYNAMIC: put_floats(c, panel, entries * LAMINA_QUANTIZED_ROWS); break;
    }
}

static void fill_slot(check *c, lamina_scheme scheme, size_t columns) {
    const size_t bytes = lamina_quantized_panel_bytes(scheme, columns);
    for (size_t i = 0; i < PANELS * bytes; ++i) {
        slot[i] = (uint8_t)(next_random(c) >> 24);
    }
    for (size_t panel = 0; panel < PANELS; ++panel) {
        fill_panel(c, scheme, columns, slot + panel * bytes);
    }
}

static void check_dequantizing(check *c, lamina_scheme scheme, size_t columns) {
    enum { STRIDE = 64 };
    static float found[LARGEST_COLUMNS * STRIDE];
    static float expected[LARGEST_COLUMNS * STRIDE];
    const size_t panel = next_random(c) % PANELS;
    const size_t first_row = next_random(c) % 1000 * LAMINA_QUANTIZED_ROWS;
    const lamina_quantized_panel at = lamina_quantized_panel_at(scheme, slot, panel, columns, first_row, first_row + ROWS);
    const size_t begin = next_random(c) % columns / LAMINA_QUANTIZED_BLOCK * LAMINA_QUANTIZED_BLOCK;
    const size_t ranges[][2] = {{0, columns}, {begin, 1 + next_random(c) % (columns - begin)}};
    for (size_t i = 0; i < 2; ++i) {
        memset(found, 0xee, sizeof found);
        memset(expected, 0xee, sizeof expected);
        c->kernels->dequantize_panel[scheme](&at, ranges[i][0], ranges[i][1], found, STRIDE);
        c->reference->dequantize_panel[scheme](&at, ranges[i][0], ranges[i][1], expected, STRIDE);
        expect_same(c, "dequantize_panel", found, expected, columns * STRIDE * sizeof(float));
    }
}

static void check_single(check *c, lamina_scheme scheme, size_t columns) {
    static float x[LARGEST_COLUMNS];
    float found[ROWS];
    float expected[ROWS];
    for (size_t i = 0; i < columns; ++i) {
        x[i] = next_float(c);
    }
    const size_t panel_count = 1 + next_random(c) % PANELS;
    const size_t rows = panel_count * LAMINA_QUANTIZED_ROWS - next_random(c) % LAMINA_QUANTIZED_ROWS;
    lamina_quantized_panel panels[PANELS];
    for (size_t panel = 0; panel < panel_count; ++panel) {
        panels[panel] = lamina_quantized_panel_at(scheme, slot, panel, columns, 0, rows);
    }
    memset(found, 0xee, sizeof found);
    memset(expected, 0xee, sizeof expected);
    if (c->kernels->multiply_dequantized[scheme](panels, panel_count, x, found)) {
        c->reference->multiply_dequantized[scheme](panels, panel_count, x, expected);
        expect_same_floats(c, "multiply_dequantized", found, expected, ROWS);
    }
}

// ---- products ---------------------------------------------------------------------------------------------------

static void check_multiplying(check *c, lamina_scheme scheme, size_t columns, size_t batch) {
    static float x[LARGEST_COLUMNS];
    static float found[LARGEST_BATCH * Y_STRIDE];
    static float expected[LARGEST_BATCH * Y_STRIDE];
    const size_t padded = lamina_quantized_columns(columns);
    for (size_t column = 0; column < batch; ++column) {
        fill_activations(c, x, columns);
        c->reference->quantize_activations(x, columns, padded, codes + column * PADDED, scales + column * BLOCKS,
                                           corrections + column * BLOCKS);
    }
    const size_t panel_count = 1 + next_random(c) % PANELS;
    const size_t rows = panel_count * LAMINA_QUANTIZED_ROWS - next_random(c) % LAMINA_QUANTIZED_ROWS;
    lamina_quantized_panel panels[PANELS];
    for (size_t panel = 0; panel < panel_count; ++panel) {
        panels[panel] = lamina_quantized_panel_at(scheme, slot, panel, columns, 0, rows);
    }
    lamina_quantized_task task = {
        .panels = panels, .panel_count = panel_count, .x = {codes, PADDED, scales, corrections, BLOCKS},
        .y = found, .y_stride = Y_STRIDE, .columns = batch,
    };
    memset(found, 0xee, sizeof found);
    memset(expected, 0xee, sizeof expected);
    c->kernels->multiply_quantized[scheme](&task);
    task.y = expected;
    c->reference->multiply_quantized[scheme](&task);
    expect_same_floats(c, "multiply_quantized", found, expected, batch * Y_STRIDE);
}

// The first panel of a slot of ROW8 made narrow and multiplied, with codes that lie together but for a few.
static void check_narrow(check *c, size_t columns, size_t batch) {
    static float found[LARGEST_BATCH * Y_STRIDE];
    static float expected[LARGEST_BATCH * Y_STRIDE];
    static uint8_t narrow[PADDED * 20 + 4096] __attribute__((aligned(64)));
    static uint8_t reference[PADDED * 20 + 4096];
    static uint8_t restored[PADDED * 20 + 4096];
    const size_t bytes = lamina_quantized_panel_bytes(LAMINA_SCHEME_ROW8, columns);
    const uint64_t range = UINT64_C(1) << next_random(c) % 9;
    for (size_t i = 64; i < bytes; ++i) {
        const uint64_t random = next_random(c) >> 8;
        slot[i] = (uint8_t)(random % 499 == 0 ? random >> 20 : 128 - range / 2 + (random >> 20) % range);
    }
    memset(narrow, 0xee, sizeof narrow);
    memset(reference, 0xee, sizeof reference);
    c->kernels->narrow_panel(slot, columns, narrow);
    c->reference->narrow_panel(slot, columns, reference);
    expect_same(c, "narrow_panel", narrow, reference, sizeof narrow);
    c->kernels->restore_panel(narrow, columns, restored);
    expect_same(c, "restore_panel", restored, slot, bytes);
    lamina_quantized_panel panel = lamina_quantized_panel_at(LAMINA_SCHEME_ROW8, slot, 0, columns, 0, 16);
    lamina_quantized_task task = {
        .panels = &panel, .panel_count = 1, .x = {codes, PADDED, scales, corrections, BLOCKS},
        .y = expected, .y_stride = Y_STRIDE, .columns = batch,
    };
    memset(found, 0xee, sizeof found);
    memset(expected, 0xee, sizeof expected);
    c->reference->multiply_quantized[LAMINA_SCHEME_ROW8](&task);
    panel.bytes = narrow;
    task.y = found;
    c->kernels->multiply_narrow(&task);
    expect_same_floats(c, "multiply_narrow", found, expected, batch * Y_STRIDE);
}

void check_quantized(check *c) {
    static const size_t lengths[] = {1, 7, 32, 33, 64, 100, 511, 512, 513, 576, 1000, 1100, 2048, LARGEST_COLUMNS};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        check_activations(c, lengths[i]);
        for (int scheme = 0; scheme < LAMINA_SCHEMES; ++scheme) {
            fill_slot(c, (lamina_scheme)scheme, lengths[i]);
            check_dequantizing(c, (lamina_scheme)scheme, lengths[i]);
            check_single(c, (lamina_scheme)scheme, lengths[i]);
            if (scheme > LAMINA_SCHEME_Q4) {
                continue;
            }
            check_multiplying(c, (lamina_scheme)scheme, lengths[i], 1);
            check_multiplying(c, (lamina_scheme)scheme, lengths[i], 1 + next_random(c) % LARGEST_BATCH);
            check_multiplying(c, (lamina_scheme)scheme, lengths[i], 2 + i);
            if (scheme == LAMINA_SCHEME_ROW8) {
                check_narrow(c, lengths[i], 1);
                check_narrow(c, lengths[i], 2 + i);
            }
        }
    }
}
