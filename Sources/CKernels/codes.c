// The parts of ecq-tier segments that no instruction set makes faster: what is where, and checking it.
#include "codes.h"

static size_t rounded_up(size_t size) {
    return (size + TIER_ALIGNMENT - 1) / TIER_ALIGNMENT * TIER_ALIGNMENT;
}

codes_layout lamina_codes_layout(codes_split split, const size_t counts[CODES_STREAMS]) {
    codes_layout layout = {.split = split, .bits = (size_t)split.raw_bits + split.widths[0]};
    size_t offset = CODES_HEADER;
    for (size_t stream = CODES_PAIRS; stream <= CODES_ESCAPES; ++stream) {
        layout.offsets[stream] = offset;
        offset += stream == CODES_ESCAPES
                      ? counts[stream]
                      : tier_groups(counts[stream]) * codes_planes(&split, stream) * TIER_PLANE_BYTES;
    }
    memcpy(layout.counts, counts, sizeof layout.counts);
    layout.offsets[CODES_FIRST] = rounded_up(offset);
    const size_t stored_bits = layout.bits == 0 ? 8 : layout.bits;
    layout.size = layout.offsets[CODES_FIRST] + counts[CODES_FIRST] / 8 * stored_bits;
    return layout;
}

size_t lamina_codes_bound(size_t count) {
    return CODES_HEADER + count;
}

static bool split_is_valid(const codes_split *split, const size_t counts[CODES_STREAMS]) {
    if (split->widths[0] == 0) {
        const codes_split verbatim = {0};
        bool alone = true;
        for (size_t stream = CODES_PAIRS; stream < CODES_STREAMS; ++stream) {
            alone = alone && counts[stream] == 0;
        }
        return alone && memcmp(split, &verbatim, sizeof verbatim) == 0;
    }
    bool valid = split->raw_bits <= CODES_RAW_BITS && split->widths[0] >= CODES_FIRST_WIDTH;
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        const size_t most = tier == 0 ? CODES_WIDTH : CODES_LOWER_WIDTH;
        valid = valid && split->widths[tier] >= 1 && split->widths[tier] <= most;
    }
    return valid && split->singles <= codes_last(split, 0);
}

static bool all_zero(const uint8_t *begin, const uint8_t *end) {
    uint8_t all = 0;
    for (; begin < end; ++begin) {
        all |= *begin;
    }
    return all == 0;
}

// The bits behind a stream's last symbol.
static bool fill_is_zero(const uint8_t *stream, size_t symbols, size_t planes) {
    if (symbols % TIER_GROUP == 0) {
        return true;
    }
    const uint8_t *group = stream + symbols / TIER_GROUP * planes * TIER_PLANE_BYTES;
    uint64_t all = 0;
    for (size_t plane = 0; plane < planes; ++plane) {
        all |= tier_load_bits(group + plane * TIER_PLANE_BYTES);
    }
    return all >> symbols % TIER_GROUP == 0;
}

static bool unused_is_zero(const uint8_t *segment, const codes_layout *layout) {
    const codes_split *split = &layout->split;
    const uint8_t *palette = segment + CODES_PALETTE_OFFSET;
    bool zero = true;
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        palette += codes_entries(split, tier);
    }
    for (size_t stream = CODES_PAIRS; stream < CODES_ESCAPES; ++stream) {
        const uint8_t *bytes = segment + layout->offsets[stream];
        zero = zero && fill_is_zero(bytes, layout->counts[stream], codes_planes(split, stream));
    }
    const uint8_t *end = segment + layout->offsets[CODES_ESCAPES] + layout->counts[CODES_ESCAPES];
    return zero && all_zero(palette, segment + CODES_HEADER) && all_zero(end, segment + layout->offsets[CODES_FIRST]);
}

bool lamina_codes_open(const uint8_t *segment, size_t size, size_t count, codes_layout *layout) {
    if (count == 0 || count > LAMINA_CODES_LARGEST || count % LAMINA_CODES_GROUP != 0 || size < CODES_HEADER) {
        return false;
    }
    uint32_t stored[CODES_STREAMS];
    codes_split split;
    memcpy(stored, segment, sizeof stored);
    memcpy(&split, segment + CODES_SPLIT_OFFSET, sizeof split);
    size_t counts[CODES_STREAMS];
    for (size_t stream = 0; stream < CODES_STREAMS; ++stream) {
        counts[stream] = stored[stream];
        if (counts[stream] > count) {
            return false;
        }
    }
    if (counts[CODES_FIRST] != count || !split_is_valid(&split, counts)) {
        return false;
    }
    *layout = lamina_codes_layout(split, counts);
    return layout->size == size && unused_is_zero(segment, layout);
}
