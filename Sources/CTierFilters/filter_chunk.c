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

size_t lamina_directory_size(size_t head, size_t segments) {
    return aligned_size(head + 8 * segments);
}

segment lamina_directory_segment(const uint8_t *chunk, size_t head, size_t index) {
    const size_t offset = head + 8 * index;
    return (segment){lamina_chunk_get(chunk, offset), lamina_chunk_get(chunk, offset + 4)};
}

void lamina_directory_set(uint8_t *chunk, size_t head, size_t index, segment segment) {
    lamina_chunk_put(chunk, head + 8 * index, segment.offset);
    lamina_chunk_put(chunk, head + 8 * index + 4, segment.size);
}

bool lamina_directory_is_sound(const uint8_t *chunk, size_t head, size_t size) {
    if (size < SEGMENT_ALIGNMENT) return false;
    const size_t segments = lamina_chunk_get(chunk, 0);
    size_t next = lamina_directory_size(head, segments);
    if (segments == 0 || next > size) return false;
    for (size_t index = 0; index < segments; ++index) {
        const segment s = lamina_directory_segment(chunk, head, index);
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
