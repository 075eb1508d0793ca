// Sizes in a key-value cache.
#ifndef LAMINA_KV_BLOCKS_H
#define LAMINA_KV_BLOCKS_H

#include "internal.h"

LAMINA_INLINE size_t kv_element_bytes(lamina_kv_type type) {
    switch (type) {
    case LAMINA_KV_F32: return 4;
    case LAMINA_KV_F16:
    case LAMINA_KV_BF16: return 2;
    default: return 1;
    }
}

LAMINA_INLINE size_t kv_groups(size_t dimension) {
    return (dimension + LAMINA_KV_GROUP - 1) / LAMINA_KV_GROUP;
}

LAMINA_INLINE size_t kv_block_bytes(lamina_kv_type type, size_t dimension) {
    const size_t elements = LAMINA_KV_BLOCK * dimension * kv_element_bytes(type);
    const size_t scales = type == LAMINA_KV_Q8 ? LAMINA_KV_BLOCK * kv_groups(dimension) * sizeof(uint16_t) : 0;
    return (elements + scales + 63) / 64 * 64;
}

// A head's keys or values up to this size may lie in a cache; larger ones come from memory, best in order.
enum { KV_CACHED_BYTES = 1 << 18 };

// The blocks that first..<count touches, by their numbers; block b lies in place b % ring_blocks.
typedef struct kv_span {
    size_t first;
    size_t end;
} kv_span;

LAMINA_INLINE kv_span kv_span_of(const lamina_attention_task *task) {
    return (kv_span){
        .first = task->first / LAMINA_KV_BLOCK,
        .end = (task->count + LAMINA_KV_BLOCK - 1) / LAMINA_KV_BLOCK,
    };
}

// Positions of a block that are attended to: lanes from..<to.
typedef struct kv_lanes {
    size_t from;
    size_t to;
} kv_lanes;

LAMINA_INLINE kv_lanes kv_lanes_of(const lamina_attention_task *task, size_t block) {
    const size_t start = block * LAMINA_KV_BLOCK;
    return (kv_lanes){
        .from = task->first > start ? task->first - start : 0,
        .to = LAMINA_MIN(task->count - start, (size_t)LAMINA_KV_BLOCK),
    };
}

// The place behind `place`; a division for every block would show.
LAMINA_INLINE size_t kv_next_place(const lamina_attention_task *task, size_t place) {
    return place + 1 == task->ring_blocks ? 0 : place + 1;
}

#endif
