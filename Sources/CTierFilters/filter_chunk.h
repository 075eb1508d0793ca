// What the filters share: buffers, and the directory in front of a chunk's segments.
#ifndef LAMINA_FILTER_CHUNK_H
#define LAMINA_FILTER_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lamina_kernels.h"
#include "lamina_tier_filters.h"

enum {
    // Segments, and so the first one behind the directory, begin at multiples of this.
    SEGMENT_ALIGNMENT = 64,
    MAXIMUM_SLOT = 64 << 20,
};

// Memory that free() takes, as HDF5 expects of a filter.
typedef struct block {
    uint8_t *bytes;  // NULL after a failure
    size_t size;
} block;

block lamina_filter_allocate(size_t size);
const lamina_kernels *lamina_filter_kernels(void);

// Unsigned integers of 4 bytes.
size_t lamina_chunk_get(const uint8_t *chunk, size_t offset);
void lamina_chunk_put(uint8_t *chunk, size_t offset, size_t value);

// The directory: the number of segments and a few facts, `head` bytes in all, then each segment's offset and size.
typedef struct segment {
    size_t offset;
    size_t size;
} segment;

size_t lamina_directory_size(size_t head, size_t segments);
segment lamina_directory_segment(const uint8_t *chunk, size_t head, size_t index);
void lamina_directory_set(uint8_t *chunk, size_t head, size_t index, segment segment);
// Whether the directory says that its segments lie one behind the other up to the chunk's end.
bool lamina_directory_is_sound(const uint8_t *chunk, size_t head, size_t size);

// What a filter returns to the library for the coded or decoded form it made of *buffer, which it frees.
size_t lamina_filter_finish(unsigned flags, block result, size_t size, size_t *capacity, void **buffer);

#endif
