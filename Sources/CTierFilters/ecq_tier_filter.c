#include "filter_chunk.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEAD = 16,              // segments, panels in the slot, columns, zero
    PANEL_HEADER = 64,      // steps and escapes, in front of a panel's codes
    SEGMENT_CODES = 65536,  // about
};

// The sizes that follow from the columns, and memory for the codes of a segment.
typedef struct panels {
    size_t bytes;
    size_t codes;
    size_t per_segment;  // in each but the last
    block gathered;
    block scratch;
} panels;

// False if there are no panels of so many columns, or no memory; what there is of it is to be freed.
static bool prepare(size_t columns, panels *p) {
    if (columns == 0 || columns > LAMINA_CODES_LARGEST / LAMINA_QUANTIZED_ROWS) return false;
    p->bytes = lamina_quantized_panel_bytes(LAMINA_SCHEME_ROW8, columns);
    p->codes = p->bytes - PANEL_HEADER;
    p->per_segment = p->codes < SEGMENT_CODES ? SEGMENT_CODES / p->codes : 1;
    p->gathered = lamina_filter_allocate(p->per_segment * p->codes);
    p->scratch = lamina_filter_allocate(LAMINA_CODES_SCRATCH);
    return p->gathered.bytes != NULL && p->scratch.bytes != NULL;
}

// The panels in a segment, whose codes are decoded to p->gathered; 0 if it is no segment of at most `most` panels.
// Nothing says how many the last segment of a chunk has, but that many headers are in front of as many panels' codes.
static size_t decode_segment(const panels *p, const uint8_t *bytes, size_t size, size_t most) {
    const lamina_kernels *table = lamina_filter_kernels();
    for (size_t count = 1; count <= most && size > count * PANEL_HEADER; ++count) {
        const size_t headers = count * PANEL_HEADER;
        const size_t codes = count * p->codes;
        if (lamina_chunk_get(bytes, headers) == codes &&
            table->decode_codes(bytes + headers, size - headers, p->gathered.bytes, codes, p->scratch.bytes)) {
            return count;
        }
    }
    return 0;
}

// Panels whose codes are in p->gathered.
static void put_panels(const panels *p, const uint8_t *headers, size_t count, uint8_t *target) {
    for (size_t panel = 0; panel < count; ++panel) {
        memcpy(target + panel * p->bytes, headers + panel * PANEL_HEADER, PANEL_HEADER);
        memcpy(target + panel * p->bytes + PANEL_HEADER, p->gathered.bytes + panel * p->codes, p->codes);
    }
}

// Fills the slot of a chunk with a sound directory.
static bool decode_segments(const panels *p, const uint8_t *chunk, block slot) {
    const size_t segments = lamina_chunk_get(chunk, 0);
    size_t left = slot.size / p->bytes;
    uint8_t *target = slot.bytes;
    for (size_t index = 0; index < segments; ++index) {
        const segment s = lamina_directory_segment(chunk, HEAD, index);
        const size_t most = left < p->per_segment ? left : p->per_segment;
        const size_t count = decode_segment(p, chunk + s.offset, s.size, most);
        if (count == 0 || (count < p->per_segment && index + 1 < segments)) return false;
        put_panels(p, chunk + s.offset, count, target);
        target += count * p->bytes;
        left -= count;
    }
    memset(target, 0, left * p->bytes);
    return true;
}

static block decode(panels *p, const uint8_t *chunk, size_t size) {
    const block none = {.bytes = NULL};
    if (!lamina_directory_is_sound(chunk, HEAD, size) || lamina_chunk_get(chunk, 12) != 0) return none;
    if (!prepare(lamina_chunk_get(chunk, 8), p)) return none;
    const size_t slot_panels = lamina_chunk_get(chunk, 4);
    if (slot_panels > MAXIMUM_SLOT / p->bytes) return none;
    const block slot = lamina_filter_allocate(slot_panels * p->bytes);
    if (slot.bytes == NULL || decode_segments(p, chunk, slot)) return slot;
    free(slot.bytes);
    return none;
}

// `count` panels as a segment; returns its size.
static size_t encode_segment(const panels *p, const uint8_t *slot, size_t count, uint8_t *target) {
    for (size_t panel = 0; panel < count; ++panel) {
        const uint8_t *source = slot + panel * p->bytes;
        memcpy(target + panel * PANEL_HEADER, source, PANEL_HEADER);
        memcpy(p->gathered.bytes + panel * p->codes, source + PANEL_HEADER, p->codes);
    }
    const size_t headers = count * PANEL_HEADER;
    return headers + lamina_filter_kernels()->encode_codes(p->gathered.bytes, count * p->codes, target + headers);
}

// The coded form of whole panels, at most a slot, whether it is smaller or not.
static block encode(panels *p, size_t columns, const uint8_t *slot, size_t size) {
    if (!prepare(columns, p) || size == 0 || size % p->bytes != 0 || size > MAXIMUM_SLOT) {
        return (block){.bytes = NULL};
    }
    size_t left = size / p->bytes;
    const size_t segments = (left + p->per_segment - 1) / p->per_segment;
    const size_t directory = lamina_directory_size(HEAD, segments);
    block chunk = lamina_filter_allocate(directory + size + segments * lamina_codes_bound(0));
    if (chunk.bytes == NULL) return chunk;
    memset(chunk.bytes, 0, directory);
    lamina_chunk_put(chunk.bytes, 0, segments);
    lamina_chunk_put(chunk.bytes, 4, left);
    lamina_chunk_put(chunk.bytes, 8, columns);
    chunk.size = directory;
    for (size_t index = 0; index < segments; ++index) {
        const size_t count = left < p->per_segment ? left : p->per_segment;
        const size_t bytes = encode_segment(p, slot, count, chunk.bytes + chunk.size);
        lamina_directory_set(chunk.bytes, HEAD, index, (segment){chunk.size, bytes});
        chunk.size += bytes;
        slot += count * p->bytes;
        left -= count;
    }
    return chunk;
}

static size_t filter(
    unsigned flags, size_t parameter_count, const unsigned parameters[], size_t size, size_t *capacity, void **buffer) {
    panels p = {0};
    const size_t columns = parameter_count == 1 ? parameters[0] : 0;
    const bool is_decoding = (flags & LAMINA_HDF5_DECODE) != 0;
    const block result = is_decoding ? decode(&p, *buffer, size) : encode(&p, columns, *buffer, size);
    free(p.gathered.bytes);
    free(p.scratch.bytes);
    return lamina_filter_finish(flags, result, size, capacity, buffer);
}

static const lamina_hdf5_filter_class filter_class = {
    .version = 1,
    .id = LAMINA_ECQ_TIER_FILTER,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "Lamina ecq-tier",
    .filter = filter,
};

const lamina_hdf5_filter_class *lamina_ecq_tier_filter(void) {
    return &filter_class;
}
