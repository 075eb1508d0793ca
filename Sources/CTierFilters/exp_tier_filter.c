#include "filter_chunk.h"

#include <stdlib.h>
#include <string.h>

// Words in a segment when encoding: HDF5 does not tell a filter where panels end.
enum { SEGMENT_WORDS = 65536 };

// Segments, and words in the slot.
enum { HEAD = 8 };

// Whether the chunk is a directory and segments that hold at most the slot's words. What is inside the segments is for
// the kernels to check.
static bool is_sound(const uint8_t *chunk, size_t size) {
    if (!lamina_directory_is_sound(chunk, HEAD, size)) return false;
    const size_t segments = lamina_chunk_get(chunk, 0), slot_words = lamina_chunk_get(chunk, 4);
    size_t words = 0;
    for (size_t index = 0; index < segments; ++index) {
        const size_t count = lamina_chunk_get(chunk, lamina_directory_segment(chunk, HEAD, index).offset);
        if (count == 0) return false;
        words += count;
    }
    return slot_words <= MAXIMUM_SLOT / 2 && words <= slot_words;
}

// The slot a sound chunk decodes to.
static block decode_segments(const uint8_t *chunk, void *scratch) {
    const block slot = lamina_filter_allocate(2 * lamina_chunk_get(chunk, 4));
    if (slot.bytes == NULL) return slot;
    const lamina_kernels *table = lamina_filter_kernels();
    const size_t segments = lamina_chunk_get(chunk, 0);
    size_t done = 0;
    for (size_t index = 0; index < segments; ++index) {
        const segment s = lamina_directory_segment(chunk, HEAD, index);
        const size_t words = lamina_chunk_get(chunk, s.offset);
        uint16_t *target = (uint16_t *)(void *)(slot.bytes + 2 * done);
        if (!table->decode_tier(chunk + s.offset, s.size, target, words, scratch)) {
            free(slot.bytes);
            return (block){.bytes = NULL};
        }
        done += words;
    }
    memset(slot.bytes + 2 * done, 0, slot.size - 2 * done);
    return slot;
}

static block decode(const uint8_t *chunk, size_t size) {
    if (!is_sound(chunk, size)) return (block){.bytes = NULL};
    const block scratch = lamina_filter_allocate(LAMINA_TIER_SCRATCH);
    if (scratch.bytes == NULL) return scratch;
    const block slot = decode_segments(chunk, scratch.bytes);
    free(scratch.bytes);
    return slot;
}

// The coded form of an even number of bytes, at most a slot, whether it is smaller or not.
static block encode(const uint8_t *slot, size_t size) {
    const size_t words = size / 2;
    if (size == 0 || size % 2 != 0 || size > MAXIMUM_SLOT) return (block){.bytes = NULL};
    const size_t segments = (words + SEGMENT_WORDS - 1) / SEGMENT_WORDS;
    const size_t segment_bound = lamina_tier_bound(words < SEGMENT_WORDS ? words : SEGMENT_WORDS);
    block chunk = lamina_filter_allocate(lamina_directory_size(HEAD, segments) + segments * segment_bound);
    if (chunk.bytes == NULL) return chunk;
    const lamina_kernels *table = lamina_filter_kernels();
    chunk.size = lamina_directory_size(HEAD, segments);
    memset(chunk.bytes, 0, chunk.size);
    lamina_chunk_put(chunk.bytes, 0, segments);
    lamina_chunk_put(chunk.bytes, 4, words);
    for (size_t index = 0; index < segments; ++index) {
        const size_t first = index * SEGMENT_WORDS;
        const size_t count = words - first < SEGMENT_WORDS ? words - first : SEGMENT_WORDS;
        const uint16_t *source = (const uint16_t *)(const void *)(slot + 2 * first);
        const size_t bytes = table->encode_tier(source, count, chunk.bytes + chunk.size);
        lamina_directory_set(chunk.bytes, HEAD, index, (segment){chunk.size, bytes});
        chunk.size += bytes;
    }
    return chunk;
}

static size_t filter(
    unsigned flags, size_t parameter_count, const unsigned parameters[], size_t size, size_t *capacity, void **buffer) {
    (void)parameter_count, (void)parameters;
    const bool is_decoding = (flags & LAMINA_HDF5_DECODE) != 0;
    const block result = is_decoding ? decode(*buffer, size) : encode(*buffer, size);
    return lamina_filter_finish(flags, result, size, capacity, buffer);
}

static const lamina_hdf5_filter_class filter_class = {
    .version = 1,
    .id = LAMINA_EXP_TIER_FILTER,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "Lamina exp-tier",
    .filter = filter,
};

const lamina_hdf5_filter_class *lamina_exp_tier_filter(void) {
    return &filter_class;
}
