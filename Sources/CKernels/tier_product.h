// Panels stored as exp-tier segments, times the columns of a batch: the words of one chain are decoded to scratch and
// multiplied there, in the second-level cache; where tier_fused.h can, a few columns go without. Compiled once per
// instruction set, after panel_product.h and tier_decode.h.
#ifndef LAMINA_TIER_PRODUCT_H
#define LAMINA_TIER_PRODUCT_H

#include "panel_product.h"
#include "tier_decode.h"

#if defined(TIER_FUSED_COLUMNS)
#include "tier_fused.h"
#endif

// Scratch: the words of one chain, then the decoder's.
enum { TIER_CHAIN_BYTES = LAMINA_CHAIN_LENGTH * LAMINA_PANEL_ROWS * 2 };

_Static_assert(TIER_CHAIN_BYTES + 2 * TIER_BUFFER <= LAMINA_TIER_SCRATCH, "the scratch holds all there is");

// Not inlined: the tile's loops need all registers.
static __attribute__((noinline)) void multiply_decoded_chain(const lamina_panel_task *chain, const uint8_t *coded) {
    multiply_chain(LAMINA_WEIGHT_BF16, true, (panel_tile){.task = chain, .k_count = chain->k_count, .coded = coded});
}

static bool multiply_tier_chain(tier_decoder *decoder, const lamina_panel_task *chain, uint16_t *words) {
#if defined(TIER_FUSED_COLUMNS)
    // Groups of 64 words are whole rows of two k in a full panel only; a narrower one is the last of its matrix.
    const bool few_columns = chain->columns > 0 && chain->columns <= TIER_FUSED_COLUMNS;
    if (few_columns && chain->width == LAMINA_PANEL_ROWS) {
        return multiply_tier_chain_fused(decoder, chain);
    }
#endif
    if (!tier_decode_words(decoder, words, chain->k_count * chain->width)) {
        return false;
    }
    multiply_decoded_chain(chain, decoder->sign_mantissa);
    return true;
}

static bool multiply_tier_panel(const lamina_panel_task *task, size_t size, void *scratch) {
    tier_decoder decoder;
    uint16_t *words = scratch;
    uint8_t *buffers = (uint8_t *)scratch + TIER_CHAIN_BYTES;
    if (!tier_begin(&decoder, task->weights, size, task->width * task->k_count, buffers)) {
        return false;
    }
    lamina_panel_task chain = *task;
    chain.weights = words;
    const size_t end = task->k_begin + task->k_count;
    for (; chain.k_begin < end; chain.k_begin += chain.k_count) {
        chain.k_count = LAMINA_MIN(end - chain.k_begin, (size_t)LAMINA_CHAIN_LENGTH);
        if (!multiply_tier_chain(&decoder, &chain, words)) {
            return false;
        }
    }
    return tier_is_finished(&decoder);
}

#endif
