// A panel of full width stored as an exp-tier segment, times a few columns: decoded words go from register to register.
// Only for instruction sets that expand bytes fast enough for it, after panel_product.h, tier_decode.h and these:
//   TIER_FUSED_COLUMNS             the most columns for which this is faster than decoding a chain to memory
//   tier_pairs(exponents, sign_mantissa, pairs)   a group's words as TIER_VECTORS vectors of neighbouring k
//   vector_words                   such a vector
//   vector_bf16_even, vector_bf16_odd             the first or the second of each pair
#ifndef LAMINA_TIER_FUSED_H
#define LAMINA_TIER_FUSED_H

#include "panel_product.h"
#include "tier_decode.h"

enum {
    TIER_VECTORS = TIER_GROUP / 2 / VECTOR_LANES,
    TIER_PAIR_GROUPS = 2 * LAMINA_PANEL_ROWS / TIER_GROUP,  // that two k take in a full panel
};

_Static_assert(TIER_FUSED_COLUMNS == 4, "multiply_tier_chain_fused has a case for each number of columns");
_Static_assert(TIER_PAIR_GROUPS * TIER_GROUP <= TIER_RESERVE, "two k are one step");

// The rows that group number `group` of two k holds.
LAMINA_INLINE void multiply_group(size_t columns, size_t group, const vector_words *pairs, const float *x,
                                  size_t x_stride, tile_sums sums) {
    LAMINA_UNROLL
    for (size_t parity = 0; parity < 2; ++parity) {
        LAMINA_UNROLL
        for (size_t c = 0; c < columns; ++c) {
            const vector activation = vector_set(x[c * x_stride + parity]);
            LAMINA_UNROLL
            for (size_t v = 0; v < TIER_VECTORS; ++v) {
                const vector row = parity == 0 ? vector_bf16_even(pairs[v]) : vector_bf16_odd(pairs[v]);
                vector *sum = &sums[c][group * TIER_VECTORS + v];
                *sum = vector_fma(row, activation, *sum);
            }
        }
    }
}

// Up to `pairs` pairs of k while tier 2 has values for them; returns how many.
LAMINA_INLINE size_t multiply_tier_run(tier_decoder *decoder, size_t columns, size_t pairs, const float *x,
                                       size_t x_stride, tile_sums sums) {
    tier_cursor cursor = tier_cursor_of(decoder);
    size_t done = 0;
    for (; done < pairs && cursor.position <= cursor.limit; ++done) {
        LAMINA_UNROLL
        for (size_t group = 0; group < TIER_PAIR_GROUPS; ++group) {
            vector_words words[TIER_VECTORS];
            tier_pairs(tier_next_exponents(&cursor), cursor.sign_mantissa, words);
            multiply_group(columns, group, words, x, x_stride, sums);
            cursor.sign_mantissa += TIER_GROUP;
        }
        x += 2;
    }
    tier_cursor_keep(&cursor, decoder);
    return done;
}

LAMINA_INLINE bool multiply_tier_columns(tier_decoder *decoder, size_t columns, const lamina_panel_task *chain) {
    const float *x = chain->x + chain->k_begin;
    const size_t pairs = chain->k_count / 2;
    tile_sums sums;
    begin_chains(columns, MAXIMUM_VECTORS, sums);
    size_t done = multiply_tier_run(decoder, columns, pairs, x, chain->x_stride, sums);
    while (done < pairs) {
        if (!tier_refill(decoder->levels)) {
            return false;
        }
        done += multiply_tier_run(decoder, columns, pairs - done, x + 2 * done, chain->x_stride, sums);
    }
    finish_chains(columns, MAXIMUM_VECTORS, (panel_tile){.task = chain}, sums);
    return true;
}

static bool multiply_tier_chain_fused(tier_decoder *decoder, const lamina_panel_task *chain) {
    switch (chain->columns) {
    case 1: return multiply_tier_columns(decoder, 1, chain);
    case 2: return multiply_tier_columns(decoder, 2, chain);
    case 3: return multiply_tier_columns(decoder, 3, chain);
    default: return multiply_tier_columns(decoder, 4, chain);
    }
}

#endif
