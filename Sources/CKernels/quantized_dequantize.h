// Quantized panels as f32. Compiled once per instruction set, after these:
//   vector, VECTOR_LANES, vector_store, vector_mul, vector_load_f16
//   code_words, code_words_load(bytes)             codes of 4 neighbouring k (8 if of 4 bits) of VECTOR_LANES rows
//   code_words_byte(words, shift)                  (float)((word >> shift & 255) - 128)
//   value_table, value_table_load(values)          16 floats
//   code_words_nibble_value(table, words, shift)   values[word >> shift & 15]
//   dynamic_table, dynamic_table_load()            lamina_dynamic_map
//   dynamic_values(table, bytes, values)           of 4 neighbouring k of VECTOR_LANES rows
#ifndef LAMINA_QUANTIZED_DEQUANTIZE_H
#define LAMINA_QUANTIZED_DEQUANTIZE_H

#include "lanes.h"
#include "quantized_layout.h"

// The scale of each row, and the k from which another one holds.
typedef struct row_scales {
    lamina_lanes values;
    size_t change;
} row_scales;

LAMINA_INLINE row_scales step_scales(const lamina_quantized_panel *panel) {
    row_scales scales = {.change = SIZE_MAX};
    LAMINA_EACH_LANE scales.values.lane[i] = row8_step(panel, i);
    return scales;
}

LAMINA_INLINE row_scales chain_scales(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k) {
    const quantized_chain_place chain = chain_place(scheme, panel->columns, k);
    const uint8_t *bytes = (const uint8_t *)panel->bytes + chain.offset;
    const size_t block = (k - chain.k) / QUANTIZED_BLOCK;
    const lamina_lanes supers = lamina_lanes_load((const float *)(const void *)bytes, LAMINA_LANES);
    int8_t codes[LAMINA_LANES];
    memcpy(codes, bytes + chain_layout(scheme, chain.k_count).scales + block * QUANTIZED_ROWS, sizeof codes);
    row_scales scales = {.change = chain.k + (block + 1) * QUANTIZED_BLOCK};
    LAMINA_EACH_LANE scales.values.lane[i] = (float)codes[i] * supers.lane[i];
    return scales;
}

LAMINA_INLINE float flat_scale(lamina_scheme scheme, const uint8_t *bytes, size_t entry, size_t row) {
    const size_t index = entry * QUANTIZED_ROWS + row;
    switch (scheme) {
    case LAMINA_SCHEME_NF4: {
        uint16_t half;
        memcpy(&half, bytes + index * sizeof half, sizeof half);
        return lamina_float_from_f16(half);
    }
    case LAMINA_SCHEME_NF4_DOUBLE: {
        float super;
        memcpy(&super, bytes + row * sizeof super, sizeof super);
        return (float)bytes[QUANTIZED_ROWS * sizeof super + index] * super;
    }
    default: {
        float scale;
        memcpy(&scale, bytes + index * sizeof scale, sizeof scale);
        return scale;
    }
    }
}

// Scales of all rows where whole blocks fit a row: they lie side by side.
LAMINA_INLINE row_scales even_scales(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k) {
    const size_t entry = k / flat_block(scheme);
    row_scales scales = {.change = (entry + 1) * flat_block(scheme)};
    if (scheme == LAMINA_SCHEME_NF4) {
        const uint16_t *halves = (const uint16_t *)panel->bytes + entry * QUANTIZED_ROWS;
        for (size_t lane = 0; lane < QUANTIZED_ROWS; lane += VECTOR_LANES) {
            vector_store(scales.values.lane + lane, vector_load_f16(halves + lane));
        }
        return scales;
    }
    LAMINA_EACH_LANE scales.values.lane[i] = flat_scale(scheme, panel->bytes, entry, i);
    return scales;
}

// Blocks run over the flattened matrix, so each row has its own place in its first one.
LAMINA_INLINE row_scales flat_scales(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k) {
    const size_t block = flat_block(scheme);
    if (panel->columns % block == 0) {
        return even_scales(scheme, panel, k);
    }
    row_scales scales = {.change = SIZE_MAX};
    for (size_t row = 0; row < QUANTIZED_ROWS; ++row) {
        const size_t first = (panel->row + row) * panel->columns % block;
        const size_t entry = (first + k) / block;
        scales.values.lane[row] = flat_scale(scheme, panel->bytes, entry, row);
        scales.change = LAMINA_MIN(scales.change, (entry + 1) * block - first);
    }
    return scales;
}

LAMINA_INLINE row_scales scales_at(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k) {
    if (scheme == LAMINA_SCHEME_ROW8) {
        return step_scales(panel);
    }
    return scheme_has_chains(scheme) ? chain_scales(scheme, panel, k) : flat_scales(scheme, panel, k);
}

// Where the codes of k and of its neighbours begin; k is a multiple of 8.
LAMINA_INLINE const uint8_t *codes_at(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k) {
    const uint8_t *bytes = panel->bytes;
    if (scheme == LAMINA_SCHEME_ROW8) {
        return bytes + ROW8_HEADER + code_bytes(scheme, k);
    }
    if (!scheme_has_chains(scheme)) {
        return bytes + flat_codes_offset(scheme, panel->columns) + code_bytes(scheme, k);
    }
    const quantized_chain_place chain = chain_place(scheme, panel->columns, k);
    return bytes + chain.offset + chain_layout(scheme, chain.k_count).codes + code_bytes(scheme, k - chain.k);
}

// Values of the 16 codes of 4 bits.
typedef struct nibble_values {
    float values[16];
} nibble_values;

LAMINA_INLINE nibble_values nibble_values_of(lamina_scheme scheme) {
    nibble_values table;
    LAMINA_EACH_LANE table.values[i] = scheme == LAMINA_SCHEME_Q4 ? (float)lamina_q4_codebook[i]
                                                                  : lamina_nf4_values[i];
    return table;
}

// Both kinds of tables; a scheme needs one of them at most.
typedef struct code_tables {
    value_table nibbles;
    dynamic_table bytes;
} code_tables;

LAMINA_INLINE code_tables code_tables_load(lamina_scheme scheme, const nibble_values *values) {
    if (scheme == LAMINA_SCHEME_INT8_DYNAMIC) {
        return (code_tables){.bytes = dynamic_table_load()};
    }
    return (code_tables){.nibbles = value_table_load(values->values)};
}

// Values of the codes of VECTOR_LANES rows of a group.
LAMINA_INLINE void code_values(lamina_scheme scheme, const code_tables *tables, const uint8_t *codes,
                               vector values[8]) {
    const code_words words = code_words_load(codes);
    if (scheme_has_nibbles(scheme)) {
        LAMINA_UNROLL
        for (size_t k = 0; k < 8; ++k) {
            values[k] = code_words_nibble_value(&tables->nibbles, words, k / 4 * 4 + k % 4 * 8);
        }
    } else if (scheme == LAMINA_SCHEME_INT8_DYNAMIC) {
        dynamic_values(&tables->bytes, codes, values);
    } else {
        LAMINA_UNROLL
        for (size_t k = 0; k < 4; ++k) {
            values[k] = code_words_byte(words, k * 8);
        }
    }
}

// All k that share words.
LAMINA_INLINE void dequantize_group(lamina_scheme scheme, const code_tables *tables, const uint8_t *codes,
                                    const lamina_lanes *scales, float *out, size_t out_stride) {
    const size_t count = scheme_has_nibbles(scheme) ? 8 : 4;
    // Callers take a chain of each of some panels in turn, so hardware prefetch does not follow.
    __builtin_prefetch(codes + code_bytes(scheme, LAMINA_CHAIN_LENGTH), 0, 2);
    LAMINA_UNROLL
    for (size_t lane = 0; lane < QUANTIZED_ROWS; lane += VECTOR_LANES) {
        vector values[8];
        code_values(scheme, tables, codes + 4 * lane, values);
        const vector scale = vector_load(scales->lane + lane);
        LAMINA_UNROLL
        for (size_t k = 0; k < count; ++k) {
            vector_store(out + k * out_stride + lane, vector_mul(values[k], scale));
        }
    }
}

// One k of a group.
LAMINA_INLINE void dequantize_one(lamina_scheme scheme, const nibble_values *table, const uint8_t *codes, size_t k,
                                  const lamina_lanes *scales, float *out) {
    LAMINA_EACH_LANE {
        const uint8_t byte = codes[4 * i + k % 4];
        float value = (float)(byte - 128);
        if (scheme_has_nibbles(scheme)) {
            value = table->values[k < 4 ? byte & 15 : byte >> 4];
        } else if (scheme == LAMINA_SCHEME_INT8_DYNAMIC) {
            value = lamina_dynamic_map[byte];
        }
        out[i] = value * scales->lane[i];
    }
}

static void dequantize_escapes(const lamina_quantized_panel *panel, size_t k_begin, size_t k_count, float *out,
                               size_t out_stride) {
    for (size_t i = 0; i < LAMINA_ESCAPES; ++i) {
        const row8_escape escape = row8_escape_at(panel, i);
        if (escape.exists && escape.k >= k_begin && escape.k < k_begin + k_count) {
            out[(escape.k - k_begin) * out_stride + escape.row] = (float)escape.code * row8_step(panel, escape.row);
        }
    }
}

LAMINA_INLINE void dequantize_panel(lamina_scheme scheme, const lamina_quantized_panel *panel, size_t k_begin,
                                    size_t k_count, float *out, size_t out_stride) {
    const size_t group = scheme_has_nibbles(scheme) ? 8 : 4;
    const nibble_values values = nibble_values_of(scheme);
    const code_tables tables = code_tables_load(scheme, &values);
    const size_t end = k_begin + k_count;
    row_scales scales = {.change = k_begin};
    for (size_t k = k_begin; k < end;) {
        const uint8_t *codes = codes_at(scheme, panel, k / group * group);
        const size_t chain_end = LAMINA_MIN(end, (k / LAMINA_CHAIN_LENGTH + 1) * LAMINA_CHAIN_LENGTH);
        while (k < chain_end) {
            if (k == scales.change) {
                scales = scales_at(scheme, panel, k);
            }
            float *target = out + (k - k_begin) * out_stride;
            if (k % group == 0 && k + group <= LAMINA_MIN(chain_end, scales.change)) {
                dequantize_group(scheme, &tables, codes, &scales.values, target, out_stride);
                k += group;
            } else {
                dequantize_one(scheme, &values, codes, k % group, &scales.values, target);
                k += 1;
            }
            codes += k % group == 0 ? 64 : 0;
        }
    }
    if (scheme == LAMINA_SCHEME_ROW8) {
        dequantize_escapes(panel, k_begin, k_count, out, out_stride);
    }
}

#define DEQUANTIZE(name, scheme)                                                                             \
    static void dequantize_panel_##name(const lamina_quantized_panel *panel, size_t k_begin, size_t k_count, \
                                        float *out, size_t out_stride) {                                     \
        dequantize_panel(scheme, panel, k_begin, k_count, out, out_stride);                                  \
    }

DEQUANTIZE(row8, LAMINA_SCHEME_ROW8)
DEQUANTIZE(q8, LAMINA_SCHEME_Q8)
DEQUANTIZE(q4, LAMINA_SCHEME_Q4)
DEQUANTIZE(nf4, LAMINA_SCHEME_NF4)
DEQUANTIZE(nf4_double, LAMINA_SCHEME_NF4_DOUBLE)
DEQUANTIZE(int8_dynamic, LAMINA_SCHEME_INT8_DYNAMIC)

#endif
