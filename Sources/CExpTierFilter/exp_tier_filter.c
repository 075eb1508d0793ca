#include "lamina_exp_tier_filter.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lamina_kernels.h"

enum {
    // Segments, and so the first one behind the directory, begin at multiples of this.
    SEGMENT_ALIGNMENT = 64,
    // Words in a segment when encoding: HDF5 does not tell a filter where panels end.
    SEGMENT_WORDS = 65536,
    // A slot is at most 64 MiB.
    MAXIMUM_SLOT_WORDS = 1 << 25,
};

// Memory that free() takes, as HDF5 expects of a filter.
typedef struct block {
    uint8_t *bytes;  // NULL after a failure
    size_t size;
} block;

static size_t aligned_size(size_t size) {
    return (size + SEGMENT_ALIGNMENT - 1) / SEGMENT_ALIGNMENT * SEGMENT_ALIGNMENT;
}

static block allocate(size_t size) {
    return (block){.bytes = aligned_alloc(SEGMENT_ALIGNMENT, aligned_size(size)), .size = size};
}

static size_t directory_size(size_t segments) {
    return aligned_size(8 + 8 * segments);
}

static size_t get(const uint8_t *chunk, size_t offset) {
    uint32_t value;
    memcpy(&value, chunk + offset, sizeof value);
    return value;
}

static void put(uint8_t *chunk, size_t offset, size_t value) {
    const uint32_t narrow = (uint32_t)value;
    memcpy(chunk + offset, &narrow, sizeof narrow);
}

static const lamina_kernels *kernels(void) {
    lamina_isa isa;
    lamina_isa_choose(&isa);
    return lamina_kernels_for(isa);
}

// Whether the chunk is a directory and, from its end to the chunk's, segments that hold at most the slot's words.
// What is inside the segments is for the kernels to check.
static bool has_sound_directory(const uint8_t *chunk, size_t size) {
    if (size < SEGMENT_ALIGNMENT) return false;
    const size_t segments = get(chunk, 0), slot_words = get(chunk, 4);
    if (segments == 0 || directory_size(segments) > size || slot_words > MAXIMUM_SLOT_WORDS) return false;
    size_t next = directory_size(segments), words = 0;
    for (size_t segment = 0; segment < segments; ++segment) {
        const size_t offset = get(chunk, 8 + 8 * segment), bytes = get(chunk, 12 + 8 * segment);
        const bool is_next = offset == next && bytes % SEGMENT_ALIGNMENT == 0 && bytes > 0 && bytes <= size - next;
        if (!is_next || get(chunk, offset) == 0) return false;
        words += get(chunk, offset);
        next += bytes;
    }
    return next == size && words <= slot_words;
}

// The slot a sound chunk decodes to.
static block decode_segments(const uint8_t *chunk, void *scratch) {
    const block slot = allocate(2 * get(chunk, 4));
    if (slot.bytes == NULL) return slot;
    const lamina_kernels *table = kernels();
    const size_t segments = get(chunk, 0);
    size_t done = 0;
    for (size_t segment = 0; segment < segments; ++segment) {
        const uint8_t *source = chunk + get(chunk, 8 + 8 * segment);
        const size_t words = get(source, 0);
        uint16_t *target = (uint16_t *)(void *)(slot.bytes + 2 * done);
        if (!table->decode_tier(source, get(chunk, 12 + 8 * segment), target, words, scratch)) {
            free(slot.bytes);
            return (block){.bytes = NULL};
        }
        done += words;
    }
    memset(slot.bytes + 2 * done, 0, slot.size - 2 * done);
    return slot;
}

static block decode(const uint8_t *chunk, size_t size) {
    if (!has_sound_directory(chunk, size)) return (block){.bytes = NULL};
    const block scratch = allocate(LAMINA_TIER_SCRATCH);
    if (scratch.bytes == NULL) return scratch;
    const block slot = decode_segments(chunk, scratch.bytes);
    free(scratch.bytes);
    return slot;
}

// The coded form of an even number of bytes, at most 64 MiB, whether it is smaller or not.
static block encode(const uint8_t *slot, size_t size) {
    const size_t words = size / 2;
    if (size == 0 || size % 2 != 0 || words > MAXIMUM_SLOT_WORDS) return (block){.bytes = NULL};
    const size_t segments = (words + SEGMENT_WORDS - 1) / SEGMENT_WORDS;
    const size_t segment_bound = lamina_tier_bound(words < SEGMENT_WORDS ? words : SEGMENT_WORDS);
    block chunk = allocate(directory_size(segments) + segments * segment_bound);
    if (chunk.bytes == NULL) return chunk;
    const lamina_kernels *table = kernels();
    memset(chunk.bytes, 0, directory_size(segments));
    put(chunk.bytes, 0, segments);
    put(chunk.bytes, 4, words);
    chunk.size = directory_size(segments);
    for (size_t segment = 0; segment < segments; ++segment) {
        const size_t first = segment * SEGMENT_WORDS;
        const size_t count = words - first < SEGMENT_WORDS ? words - first : SEGMENT_WORDS;
        const uint16_t *source = (const uint16_t *)(const void *)(slot + 2 * first);
        const size_t bytes = table->encode_tier(source, count, chunk.bytes + chunk.size);
        put(chunk.bytes, 8 + 8 * segment, chunk.size);
        put(chunk.bytes, 12 + 8 * segment, bytes);
        chunk.size += bytes;
    }
    return chunk;
}

static size_t filter(
    unsigned flags, size_t parameter_count, const unsigned parameters[], size_t size, size_t *capacity, void **buffer) {
    (void)parameter_count, (void)parameters;
    const bool is_decoding = (flags & LAMINA_HDF5_DECODE) != 0;
    const block result = is_decoding ? decode(*buffer, size) : encode(*buffer, size);
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

static const lamina_hdf5_filter_class filter_class = {
    .version = 1,
    .id = LAMINA_EXP_TIER_FILTER,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "Lamina exp-tier",
    .filter = filter,
};

int H5PLget_plugin_type(void) {
    return 0;
}

const void *H5PLget_plugin_info(void) {
    return &filter_class;
}
