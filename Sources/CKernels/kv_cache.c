// Sizes that callers need to lay out a cache.
#include "kv_blocks.h"

size_t lamina_kv_block_bytes(lamina_kv_type type, size_t dimension) {
    return kv_block_bytes(type, dimension);
}
