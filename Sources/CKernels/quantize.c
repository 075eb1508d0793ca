// The parts of quantizing that take no time: steps, escapes, scales.
#include "strict_floats.h"

#include "narrowing.h"
#include "quantize.h"

// ---- steps --------------------------------------------------------------------------------------------------------

// The least bf16 with which `largest` has a code of at most `code`; not 0 where the quotient is too small for an f32.
static uint16_t least_step(float largest, float code) {
    const uint16_t step = (uint16_t)((lamina_float_bits(largest / code) + 0xffff) >> 16);
    return largest > 0 && step == 0 ? 1 : step;
}

uint16_t lamina_step_for_largest(float largest) {
    return least_step(largest, LARGEST_CODE);
}

static uint16_t raised(uint16_t step, float largest) {
    const uint16_t least = least_step(largest, LARGEST_ESCAPE);
    return step < least ? least : step;
}

uint16_t lamina_step_for_rms(double delta, double squares, float largest, size_t count) {
    const double rms = count == 0 ? 0 : sqrt(squares / (double)count);
    return raised(lamina_bf16_from_float((float)(delta * rms)), largest);
}

// ---- escapes ------------------------------------------------------------------------------------------------------

// A weight whose code does not fit its byte.
typedef struct overflow {
    int32_t code;
    size_t k;
    size_t row;
} overflow;

// In the order in which overflowing weights become escapes.
static bool comes_first(overflow a, overflow b) {
    const int32_t magnitude_a = a.code < 0 ? -a.code : a.code;
    const int32_t magnitude_b = b.code < 0 ? -b.code : b.code;
    if (magnitude_a != magnitude_b) {
        return magnitude_a > magnitude_b;
    }
    return a.k != b.k ? a.k < b.k : a.row < b.row;
}

typedef struct overflow_list {
    overflow entries[LAMINA_ESCAPES + 1];
    size_t count;
    size_t limit;
} overflow_list;

// Keeps the first `limit` of all that are inserted.
static void insert(overflow_list *list, overflow entry) {
    size_t place = list->count;
    for (; place > 0 && comes_first(entry, list->entries[place - 1]); --place) {
        list->entries[place] = list->entries[place - 1];
    }
    list->entries[place] = entry;
    list->count = LAMINA_MIN(list->count + 1, list->limit);
}

static bool contains(const overflow_list *list, size_t k, size_t row) {
    for (size_t i = 0; i < list->count; ++i) {
        if (list->entries[i].k == k && list->entries[i].row == row) {
            return true;
        }
    }
    return false;
}

// The next k from `k` on whose code, rounded to nearest, exceeds 127; `columns` if there is none.
static size_t next_overflow(const float *weights, size_t columns, float step, size_t k, int32_t *code) {
    const float threshold = step * LARGEST_CODE;
    for (; k < columns; ++k) {
        if (fabsf(weights[k]) > threshold) {
            *code = (int32_t)nearbyintf(weights[k] / step);
            if (*code > 127 || *code < -127) {
                return k;
            }
        }
    }
    return columns;
}

static void collect_overflows(const lamina_quantize_source *source, size_t row, float step, overflow_list *list) {
    const float *weights = source->weights + row * source->stride;
    int32_t code;
    for (size_t k = 0; (k = next_overflow(weights, source->columns, step, k, &code)) < source->columns; ++k) {
        insert(list, (overflow){code, k, row});
    }
}

// The largest magnitude of a row's overflows that are no escapes; 0 if there are none.
static float largest_left(const lamina_quantize_source *source, size_t row, float step, const overflow_list *list) {
    const float *weights = source->weights + row * source->stride;
    float largest = 0;
    int32_t code;
    for (size_t k = 0; (k = next_overflow(weights, source->columns, step, k, &code)) < source->columns; ++k) {
        if (!contains(list, k, row)) {
            largest = fmaxf(largest, fabsf(weights[k]));
        }
    }
    return largest;
}

static int by_place(const overflow *a, const overflow *b) {
    return a->k != b->k ? (a->k < b->k ? -1 : 1) : (a->row < b->row ? -1 : 1);
}

static void store_escapes(overflow_list *list, lamina_row8_plan *plan) {
    for (size_t i = 1; i < list->count; ++i) {
        for (size_t j = i; j > 0 && by_place(&list->entries[j], &list->entries[j - 1]) < 0; --j) {
            const overflow swapped = list->entries[j];
            list->entries[j] = list->entries[j - 1];
            list->entries[j - 1] = swapped;
        }
    }
    for (size_t i = 0; i < list->count; ++i) {
        const overflow entry = list->entries[i];
        plan->escapes[i] = (uint64_t)entry.k << 24 | (uint64_t)entry.row << 16 | (uint16_t)entry.code;
    }
}

// One raise of a row's step is enough: it is made for the largest of the weights that do not fit.
static void raise_steps(const lamina_quantize_source *source, const float *largest, const overflow_list *list,
                        lamina_row8_plan *plan) {
    for (size_t row = 0; row < source->rows; ++row) {
        const float step = lamina_float_from_bf16(plan->steps[row]);
        const float left = largest[row] > step * LARGEST_CODE ? largest_left(source, row, step, list) : 0;
        if (left > 0) {
            plan->steps[row] = lamina_step_for_largest(left);
        }
    }
}

static overflow_list overflows_of_panel(const lamina_quantize_source *source, const float *largest,
                                        const lamina_row8_plan *plan) {
    overflow_list list = {.limit = LAMINA_MIN(source->escapes, (size_t)LAMINA_ESCAPES)};
    for (size_t row = 0; row < source->rows; ++row) {
        const float step = lamina_float_from_bf16(plan->steps[row]);
        if (largest[row] > step * LARGEST_CODE) {
            collect_overflows(source, row, step, &list);
        }
    }
    return list;
}

void lamina_plan_row8(const lamina_quantize_source *source, const float *largest, lamina_row8_plan *plan) {
    for (size_t row = 0; row < LAMINA_QUANTIZED_ROWS; ++row) {
        plan->steps[row] = row < source->rows ? raised(source->steps[row], largest[row]) : 0;
    }
    for (size_t i = 0; i < LAMINA_ESCAPES; ++i) {
        plan->escapes[i] = LAMINA_NO_ESCAPE;
    }
    const overflow_list candidates = overflows_of_panel(source, largest, plan);
    raise_steps(source, largest, &candidates, plan);
    overflow_list escapes = overflows_of_panel(source, largest, plan);
    store_escapes(&escapes, plan);
}

// ---- scales of flat blocks ------------------------------------------------------------------------------------------

void lamina_fill_dynamic_codes(uint8_t codes[DYNAMIC_LEVELS]) {
    size_t begin = 0;
    for (size_t code = 0; code < 255; ++code) {
        const float middle = (lamina_dynamic_map[code] + lamina_dynamic_map[code + 1]) * 0.5f;
        // A level or two below the first one above the middle.
        const double near = ((double)middle + 1) * 0.5 * (DYNAMIC_LEVELS - 1) - 2;
        size_t end = near > 0 ? (size_t)near : 0;
        while ((float)(2 * end) / (DYNAMIC_LEVELS - 1) - 1.0f <= middle) {
            ++end;
        }
        memset(codes + begin, (int)code, end - begin);
        begin = end;
    }
    memset(codes + begin, 255, DYNAMIC_LEVELS - begin);
}

// The maximum of entry `entry` of a row; 0 for what is not there.
static float entry_maximum(lamina_scheme scheme, const lamina_quantize_source *source, size_t row, size_t entry) {
    const size_t block = flat_block(scheme);
    const size_t first = (source->row + row) * source->columns;
    const size_t index = first / block + entry;
    if (row >= source->rows || index > (first + source->columns - 1) / block) {
        return 0;
    }
    return source->maxima[index - source->row * source->columns / block];
}

static void store_bytes(uint8_t *panel, const void *value, size_t size, size_t index) {
    memcpy(panel + index * size, value, size);
}

static float row_maximum(lamina_scheme scheme, const lamina_quantize_source *source, size_t row) {
    float largest = 0;
    for (size_t entry = 0; entry < flat_entries(scheme, source->columns); ++entry) {
        largest = fmaxf(largest, entry_maximum(scheme, source, row, entry));
    }
    return largest;
}

static void store_double_scales(const lamina_quantize_source *source, uint8_t *panel) {
    const lamina_scheme scheme = LAMINA_SCHEME_NF4_DOUBLE;
    uint8_t *scales = panel + QUANTIZED_ROWS * sizeof(float);
    for (size_t row = 0; row < QUANTIZED_ROWS; ++row) {
        const float super = row_maximum(scheme, source, row) / 255.0f;
        store_bytes(panel, &super, sizeof super, row);
        for (size_t entry = 0; entry < flat_entries(scheme, source->columns); ++entry) {
            const float maximum = entry_maximum(scheme, source, row, entry);
            const float scale = super > 0 ? nearbyintf(maximum / super) : 0;
            scales[entry * QUANTIZED_ROWS + row] = (uint8_t)fminf(scale, 255);
        }
    }
}

void lamina_store_flat_scales(lamina_scheme scheme, const lamina_quantize_source *source, uint8_t *panel) {
    memset(panel, 0, flat_codes_offset(scheme, source->columns));
    if (scheme == LAMINA_SCHEME_NF4_DOUBLE) {
        store_double_scales(source, panel);
        return;
    }
    for (size_t i = 0; i < flat_entries(scheme, source->columns) * QUANTIZED_ROWS; ++i) {
        const float maximum = entry_maximum(scheme, source, i % QUANTIZED_ROWS, i / QUANTIZED_ROWS);
        const uint16_t half = lamina_f16_from_float(maximum);
        if (scheme == LAMINA_SCHEME_NF4) {
            store_bytes(panel, &half, sizeof half, i);
        } else {
            store_bytes(panel, &maximum, sizeof maximum, i);
        }
    }
}

// ---- what is lost ---------------------------------------------------------------------------------------------------

void lamina_measure_panel(const lamina_kernels *kernels, lamina_scheme scheme, const lamina_quantize_source *source,
                          const void *panel, lamina_panel_errors *sums) {
    const lamina_quantized_panel place = {
        .bytes = panel, .columns = source->columns, .row = source->row, .rows = source->rows};
    float decoded[LAMINA_CHAIN_LENGTH * LAMINA_QUANTIZED_ROWS];
    memset(sums, 0, sizeof *sums);
    for (size_t k = 0; k < source->columns; k += LAMINA_CHAIN_LENGTH) {
        const size_t count = LAMINA_MIN(source->columns - k, (size_t)LAMINA_CHAIN_LENGTH);
        kernels->dequantize_panel[scheme](&place, k, round_up(count, QUANTIZED_BLOCK), decoded, QUANTIZED_ROWS);
        kernels->add_panel_errors(source, k, count, decoded, sums);
    }
}
