// product_add of quantized_product.h for NEON with dot products: four products and their sum in one instruction.
#ifndef LAMINA_QUANTIZED_NEON_DOTPROD_H
#define LAMINA_QUANTIZED_NEON_DOTPROD_H

#include "quantized_neon.h"

LAMINA_INLINE product_integers product_add(product_integers sums, product_codes codes, const int8_t *x) {
    return vdotq_s32(sums, codes, load_activations(x));
}

#endif
