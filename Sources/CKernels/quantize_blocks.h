// Schemes that search scales: Q8 and Q4. Lanes are the panel's 16 rows; a chain of 512 k of them is brought to a largest
// magnitude between 1 and 2 by a power of two first, so that neither squares nor reciprocals leave f32's range.
#ifndef LAMINA_QUANTIZE_BLOCKS_H
#define LAMINA_QUANTIZE_BLOCKS_H

#include "quantize_rows.h"

enum { SEARCHED_BLOCKS = LAMINA_CHAIN_LENGTH / QUANTIZED_BLOCK };

// ---- a chain of 16 rows -------------------------------------------------------------------------------------------------

typedef struct weight_chain {
    float weights[LAMINA_CHAIN_LENGTH * QUANTIZED_ROWS];  // [k][row]
    floats16 extremes[SEARCHED_BLOCKS];                      // each block's weight of largest magnitude
    floats16 largest;                                     // their largest magnitude
    floats16 unit;                                        // a weight of 1 here is this much
    size_t blocks;
} weight_chain;

LAMINA_INLINE floats16 chain_lanes(const weight_chain *chain, size_t block, size_t i) {
    return floats16_load(chain->weights + (block * QUANTIZED_BLOCK + i) * QUANTIZED_ROWS);
}

// 2^-e and 2^e of magnitudes in 2^e..<2^(e + 1); denormal ones count as 2^-127.
LAMINA_INLINE floats16 reciprocal_power(floats16 largest) {
    const words16 exponent = (words16)largest >> 23;
    const words16 power = (254 - exponent) << 23;
    return (floats16)(power | ((exponent == 254) & 0x00400000));
}

LAMINA_INLINE floats16 power_below(floats16 largest) {
    const words16 exponent = (words16)largest >> 23;
    return (floats16)(exponent << 23 | ((exponent == 0) & 0x00400000));
}

static void load_chain(const lamina_quantize_source *source, size_t k_begin, size_t k_count, weight_chain *chain) {
    floats16 largest = {0};
    chain->blocks = k_count / QUANTIZED_BLOCK;
    for (size_t k = 0; k < k_count; k += 16) {
        float *tile = chain->weights + k * QUANTIZED_ROWS;
        transpose_weights(source, k_begin + k, tile);
        for (size_t i = 0; i < 16; ++i) {
            largest = floats16_larger(floats16_magnitude(floats16_load(tile + i * QUANTIZED_ROWS)), largest);
        }
    }
    const floats16 factor = reciprocal_power(largest);
    chain->unit = power_below(largest);
    chain->largest = largest * factor;
    for (size_t block = 0; block < chain->blocks; ++block) {
        floats16 extreme = {0};
        for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
            const floats16 weight = chain_lanes(chain, block, i) * factor;
            floats16_store(chain->weights + (block * QUANTIZED_BLOCK + i) * QUANTIZED_ROWS, weight);
            extreme = floats16_select(floats16_magnitude(weight) > floats16_magnitude(extreme), weight, extreme);
        }
        chain->extremes[block] = extreme;
    }
}

// 1 / scale; 0 for a scale of 0.
LAMINA_INLINE floats16 reciprocal(floats16 scale) {
    const words16 is_zero = scale == 0;
    return floats16_select(is_zero, (floats16){0}, 1.0f / floats16_select(is_zero, floats16_of(1), scale));
}

// Scales of a block under its chain's super: whole numbers -127 to 127.
typedef struct scale_choice {
    floats16 scale;
    floats16 error;  // sum of squares
} scale_choice;

LAMINA_INLINE void take_better(scale_choice *best, floats16 scale, floats16 error) {
    const words16 is_better = error < best->error;
    best->scale = floats16_select(is_better, scale, best->scale);
    best->error = floats16_select(is_better, error, best->error);
}

LAMINA_INLINE void store_scales(floats16 scales, uint8_t *target) {
    const bytes16 bytes = __builtin_convertvector(words16_round(scales), bytes16);
    memcpy(target, &bytes, sizeof bytes);
}

// The codes of 4 k, one lane's in one word.
LAMINA_INLINE void store_word(const words16 codes[4], uint8_t *target) {
    const words16 word = codes[0] | codes[1] << 8 | codes[2] << 16 | codes[3] << 24;
    memcpy(target, &word, sizeof word);
}

// ---- Q8 -------------------------------------------------------------------------------------------------------------------

// Scales a block tries: from one below the least with which its largest weight is no more than 128 steps. Larger steps
// are coarser on average, but over 32 weights the sum of rounding errors varies more than that between steps.
enum { Q8_LEAST = -1, Q8_MOST = 6 };
// The chain's largest block has scale 120, so that it can try a few larger ones, too.
#define Q8_TOP 120.0f

LAMINA_INLINE floats16 q8_code(floats16 weight, floats16 inverse) {
    return floats16_round(floats16_clamp(weight * inverse, -128, 127));
}

LAMINA_INLINE floats16 q8_error(const weight_chain *chain, size_t block, floats16 scale) {
    const floats16 inverse = reciprocal(scale);
    floats16 sum = {0};
    for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
        const floats16 weight = chain_lanes(chain, block, i);
        const floats16 error = weight - q8_code(weight, inverse) * scale;
        sum += error * error;
    }
    return sum;
}

// The sign is that with which the largest weight has code -128.
LAMINA_INLINE floats16 q8_scale(const weight_chain *chain, size_t block, floats16 super, floats16 inverse_super) {
    const floats16 extreme = chain->extremes[block];
    const floats16 ideal = floats16_magnitude(extreme) * 0x1p-7f * inverse_super;
    const floats16 nearest = floats16_round(ideal);
    const floats16 least = nearest - floats16_select(nearest < ideal, floats16_of(-1), (floats16){0});
    const floats16 sign = floats16_select(extreme > 0, floats16_of(-1), floats16_of(1));
    scale_choice best = {.scale = sign * floats16_clamp(least, 0, 127)};
    best.error = q8_error(chain, block, best.scale * super);
    for (int offset = Q8_LEAST; offset <= Q8_MOST; ++offset) {
        if (offset != 0) {
            const floats16 scale = sign * floats16_clamp(least + (float)offset, 0, 127);
            take_better(&best, scale, q8_error(chain, block, scale * super));
        }
    }
    return best.scale;
}

static void quantize_chain_q8(const weight_chain *chain, quantized_chain_layout layout, uint8_t *bytes) {
    const floats16 super = chain->largest * (0x1p-7f / Q8_TOP);
    const floats16 inverse_super = reciprocal(super);
    floats16_store((float *)(void *)bytes, super * chain->unit);
    for (size_t block = 0; block < chain->blocks; ++block) {
        const floats16 scale = q8_scale(chain, block, super, inverse_super);
        store_scales(scale, bytes + layout.scales + block * QUANTIZED_ROWS);
        const floats16 inverse = reciprocal(scale * super);
        uint8_t *codes = bytes + layout.codes + block * QUANTIZED_BLOCK * QUANTIZED_ROWS;
        for (size_t word = 0; word < QUANTIZED_BLOCK / 4; ++word) {
            words16 four[4];
            for (size_t i = 0; i < 4; ++i) {
                four[i] = words16_round(q8_code(chain_lanes(chain, block, 4 * word + i), inverse)) + 128;
            }
            store_word(four, codes + word * 64);
        }
    }
}

// ---- Q4 -------------------------------------------------------------------------------------------------------------------

// The codebook as a staircase: how far it rises at which number.
typedef struct codebook_steps {
    float first;
    float last;
    float middles[15];
    float rises[15];
} codebook_steps;

LAMINA_INLINE codebook_steps q4_steps(void) {
    codebook_steps steps = {.first = lamina_q4_codebook[0], .last = lamina_q4_codebook[15]};
    for (size_t i = 0; i < 15; ++i) {
        const float low = lamina_q4_codebook[i];
        const float high = lamina_q4_codebook[i + 1];
        steps.middles[i] = (low + high) * 0.5f;
        steps.rises[i] = high - low;
    }
    return steps;
}

LAMINA_INLINE floats16 q4_value(const codebook_steps *steps, floats16 scaled) {
    floats16 value = floats16_of(steps->first);
    LAMINA_UNROLL
    for (size_t i = 0; i < 15; ++i) {
        value += floats16_select(scaled > steps->middles[i], floats16_of(steps->rises[i]), (floats16){0});
    }
    return value;
}

LAMINA_INLINE words16 q4_code(const codebook_steps *steps, floats16 scaled) {
    words16 code = {0};
    LAMINA_UNROLL
    for (size_t i = 0; i < 15; ++i) {
        code -= scaled > steps->middles[i];
    }
    return code;
}

// A block's scale of least error, as far as it was found: codes are chosen for a scale that puts the largest weight
// somewhere about either end of the codebook; the best scale for these codes is then that of least squares.
typedef struct scale_fit {
    floats16 scale;
    floats16 gain;  // by how much it lowers the sum of squares
} scale_fit;

LAMINA_INLINE void try_codes(const weight_chain *chain, size_t block, const codebook_steps *steps, floats16 inverse,
                             scale_fit *best) {
    floats16 products = {0};
    floats16 squares = {0};
    for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
        const floats16 weight = chain_lanes(chain, block, i);
        const floats16 value = q4_value(steps, weight * inverse);
        products += weight * value;
        squares += value * value;
    }
    const floats16 scale = products / squares;
    const floats16 gain = products * scale;
    const words16 is_better = gain > best->gain;
    best->scale = floats16_select(is_better, scale, best->scale);
    best->gain = floats16_select(is_better, gain, best->gain);
}

// Where the largest weight is put, as parts of the codebook's end.
static const float q4_places[] = {0.78f, 0.82f, 0.86f, 0.90f, 0.94f, 0.98f, 1.02f, 1.06f, 1.10f};

static floats16 q4_fit(const weight_chain *chain, size_t block, const codebook_steps *steps) {
    scale_fit best = {{0}, {0}};
    const floats16 inverse = reciprocal(chain->extremes[block]);
    for (size_t i = 0; i < sizeof q4_places / sizeof *q4_places; ++i) {
        try_codes(chain, block, steps, inverse * (q4_places[i] * steps->first), &best);
        try_codes(chain, block, steps, inverse * (q4_places[i] * steps->last), &best);
    }
    return best.scale;
}

LAMINA_INLINE floats16 q4_error(const weight_chain *chain, size_t block, const codebook_steps *steps, floats16 scale) {
    const floats16 inverse = reciprocal(scale);
    floats16 sum = {0};
    for (size_t i = 0; i < QUANTIZED_BLOCK; ++i) {
        const floats16 weight = chain_lanes(chain, block, i);
        const floats16 error = weight - q4_value(steps, weight * inverse) * scale;
        sum += error * error;
    }
    return sum;
}

// The whole number nearest to the fit, or one of its neighbours.
static floats16 q4_scale(const weight_chain *chain, size_t block, const codebook_steps *steps, floats16 fit,
                         floats16 super) {
    const floats16 nearest = floats16_clamp(floats16_round(fit * reciprocal(super)), -127, 127);
    scale_choice best = {nearest, q4_error(chain, block, steps, nearest * super)};
    for (int offset = -1; offset <= 1; offset += 2) {
        const floats16 scale = floats16_clamp(nearest + (float)offset, -127, 127);
        take_better(&best, scale, q4_error(chain, block, steps, scale * super));
    }
    return best.scale;
}

static void store_codes_q4(const weight_chain *chain, size_t block, const codebook_steps *steps, floats16 scale,
                           uint8_t *codes) {
    const floats16 inverse = reciprocal(scale);
    for (size_t word = 0; word < QUANTIZED_BLOCK / 8; ++word) {
        words16 four[4];
        for (size_t i = 0; i < 4; ++i) {
            const words16 low = q4_code(steps, chain_lanes(chain, block, 8 * word + i) * inverse);
            const words16 high = q4_code(steps, chain_lanes(chain, block, 8 * word + 4 + i) * inverse);
            four[i] = low | high << 4;
        }
        store_word(four, codes + word * 64);
    }
}

static void quantize_chain_q4(const weight_chain *chain, quantized_chain_layout layout, uint8_t *bytes) {
    const codebook_steps steps = q4_steps();
    floats16 fits[SEARCHED_BLOCKS];
    floats16 largest = {0};
    for (size_t block = 0; block < chain->blocks; ++block) {
        fits[block] = q4_fit(chain, block, &steps);
        largest = floats16_larger(floats16_magnitude(fits[block]), largest);
    }
    const floats16 super = largest * (1.0f / 127);
    floats16_store((float *)(void *)bytes, super * chain->unit);
    for (size_t block = 0; block < chain->blocks; ++block) {
        const floats16 scale = q4_scale(chain, block, &steps, fits[block], super);
        store_scales(scale, bytes + layout.scales + block * QUANTIZED_ROWS);
        uint8_t *codes = bytes + layout.codes + block * QUANTIZED_BLOCK * QUANTIZED_ROWS / 2;
        store_codes_q4(chain, block, &steps, scale * super, codes);
    }
}

// ---- panels ---------------------------------------------------------------------------------------------------------------

LAMINA_INLINE void quantize_panel_chains(lamina_scheme scheme, const lamina_quantize_source *source, void *panel) {
    for (size_t k = 0; k < source->columns; k += LAMINA_CHAIN_LENGTH) {
        const quantized_chain_place place = chain_place(scheme, source->columns, k);
        const quantized_chain_layout layout = chain_layout(scheme, place.k_count);
        uint8_t *bytes = (uint8_t *)panel + place.offset;
        weight_chain chain;
        load_chain(source, k, place.k_count, &chain);
        memset(bytes + layout.scales, 0, layout.codes - layout.scales);
        if (scheme == LAMINA_SCHEME_Q8) {
            quantize_chain_q8(&chain, layout, bytes);
        } else {
            quantize_chain_q4(&chain, layout, bytes);
        }
    }
}

static void quantize_panel_q8(const lamina_quantize_source *source, void *panel) {
    quantize_panel_chains(LAMINA_SCHEME_Q8, source, panel);
}

static void quantize_panel_q4(const lamina_quantize_source *source, void *panel) {
    quantize_panel_chains(LAMINA_SCHEME_Q4, source, panel);
}

#endif
