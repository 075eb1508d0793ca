// Where the blocks of a key-value cache keep what, and their elements as vectors of f32. Compiled once per instruction
// set, after these are defined beside the vector of panel_product.h:
//   vector_mul
//   vector_load_bf16, vector_load_i8   neighbouring elements
//   vector_set_f16                     one element in all lanes
#ifndef LAMINA_KV_LAYOUT_H
#define LAMINA_KV_LAYOUT_H

#include "kv_blocks.h"

// Elements from `index` on; `scale` counts only for Q8.
LAMINA_INLINE vector load_kv(lamina_kv_type type, const uint8_t *elements, size_t index, vector scale) {
    const uint8_t *source = elements + index * kv_element_bytes(type);
    switch (type) {
    case LAMINA_KV_F32: return vector_load((const float *)(const void *)source);
    case LAMINA_KV_F16: return vector_load_f16((const uint16_t *)(const void *)source);
    case LAMINA_KV_BF16: return vector_load_bf16((const uint16_t *)(const void *)source);
    default: return vector_mul(vector_load_i8((const int8_t *)source), scale);
    }
}

// Scales [groups][16] of a block of keys or [16][groups] of a block of values.
LAMINA_INLINE const uint16_t *kv_scales(const uint8_t *block, size_t dimension) {
    return (const uint16_t *)(const void *)(block + dimension * LAMINA_KV_BLOCK);
}

#endif
