#include "filter_chunk.h"

#include <stdlib.h>
#include <string.h>

static size_t aligned_size(size_t size) {
    return (size + SEGMENT_ALIGNMENT - 1) / SEGMENT_ALIGNMENT * SEGMENT_ALIGNMENT;
}

block lamina_filter_allocate(size_t size) {
    return (block){.bytes = aligned_alloc(SEGMENT_ALIGNMENT, aligned_size(size)), .size = size};
}

const lamina_kernels *lamina_filter_kernels(void) {
    lamina_isa isa;
    lamina_isa_choose(&isa);
    return lamina_kernels_for(isa);
}

size_t lamina_chunk_get(const uint8_t *chunk, size_t offset) {
    uint32_t value;
    memcpy(&value, chunk + offset, sizeof value);
    return value;
}

void lamina_chunk_put(uint8_t *chunk, size_t offset, size_t value) {
    const uint32_t narrow = (uint32_t)value;
    memcpy(chunk + offset, &narrow, sizeof narrow);
}

size_t lamina_directory_size(size_t segments) {
    return aligned_size(8 + 8 * segments);
}

segment lamina_directory_segment(const uint8_t *chunk, size_t index) {
    return (segment){lamina_chunk_get(chunk, 8 + 8 * index), lamina_chunk_get(chunk, 12 + 8 * index)};
}

void lamina_directory_begin(uint8_t *chunk, size_t segments, size_t units) {
    memset(chunk, 0, lamina_directory_size(segments));
    lamina_chunk_put(chunk, 0, segments);
    lamina_chunk_put(chunk, 4, units);
}

bool lamina_directory_is_sound(const uint8_t *chunk, size_t size) {
    if (size < SEGMENT_ALIGNMENT) return false;
    const size_t segments = lamina_chunk_get(chunk, 0);
    if (segments == 0 || lamina_directory_size(segments) > size) return false;
    size_t next = lamina_directory_size(segments);
    for (size_t index = 0; index < segments; ++index) {
        const segment s = lamina_directory_segment(chunk, index);
        if (s.offset != next || s.size % SEGMENT_ALIGNMENT != 0 || s.size == 0 || s.size > size - next) return false;
        next += s.size;
    }
    return next == size;
}

size_t lamina_filter_finish(unsigned flags, block result, size_t size, size_t *capacity, void **buffer) {
    const bool is_decoding = (flags & LAMINA_HDF5_DECODE) != 0;
    const bool gains = is_decoding || (flags & LAMINA_HDF5_OPTIONAL) == 0 || result.size < size;
    if (result.bytes == NULL || !gains) {
        free(result.bytes);
        return 0;
    }
    free(*buffer);
    *buffer = result.bytes;
    *capacity = aligned_size(result.size);
    return result.size;
}
