// product_add of quantized_product.h for NEON without dot products.
#ifndef LAMINA_QUANTIZED_NEON_BASE_H
#define LAMINA_QUANTIZED_NEON_BASE_H

#include "quantized_neon.h"

LAMINA_INLINE product_integers product_add(product_integers sums, product_codes codes, const int8_t *x) {
    const int8x16_t activations = load_activations(x);
    const int16x8_t low = vmull_s8(vget_low_s8(codes), vget_low_s8(activations));
    const int16x8_t high = vmull_high_s8(codes, activations);
    // Pairs of products stay within 2 * 128 * 127 < 2^15.
    return vpadalq_s16(sums, vpaddq_s16(low, high));
}

#endif
