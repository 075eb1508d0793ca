// The slow, obvious version of the exp-tier kernels: one symbol after the other, straight from formats/shard.md.
#include "strict_floats.h"

#include "reference.h"

#include <stdlib.h>

static uint32_t load_u32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static size_t ceil64(size_t value) {
    return (value + 63) / 64 * 64;
}

// Bytes of a tier: 64 low bits, 64 high bits, and so on.
static size_t tier_bytes(size_t symbols) {
    return ceil64(symbols) / 4;
}

static unsigned symbol_at(const uint8_t *tier, size_t index) {
    const uint8_t *group = tier + index / 64 * 16;
    const size_t bit = index % 64;
    const unsigned low = group[bit / 8] >> bit % 8 & 1;
    const unsigned high = group[8 + bit / 8] >> bit % 8 & 1;
    return low + 2 * high;
}

static void put_symbol(uint8_t *tier, size_t index, unsigned symbol) {
    uint8_t *group = tier + index / 64 * 16;
    const size_t bit = index % 64;
    group[bit / 8] |= (uint8_t)((symbol & 1) << bit % 8);
    group[8 + bit / 8] |= (uint8_t)((symbol >> 1) << bit % 8);
}

// ---- encoding ---------------------------------------------------------------------------------------------------

// Every exponent's rank by frequency, ties to the smaller exponent; those that do not occur come last.
static void rank_exponents(const uint16_t *weights, size_t count, size_t ranks[256]) {
    size_t frequencies[256] = {0};
    for (size_t i = 0; i < count; ++i) {
        frequencies[weights[i] >> 7 & 255] += 1;
    }
    for (size_t exponent = 0; exponent < 256; ++exponent) {
        ranks[exponent] = 0;
        for (size_t other = 0; other < 256; ++other) {
            const bool as_frequent = frequencies[other] == frequencies[exponent];
            ranks[exponent] += frequencies[other] > frequencies[exponent] || (as_frequent && other < exponent);
        }
    }
}

size_t lamina_reference_encode_tier(const uint16_t *weights, size_t count, void *segment) {
    size_t ranks[256];
    rank_exponents(weights, count, ranks);
    uint8_t *bytes = segment;
    memset(bytes, 0, 64);
    size_t counts[4] = {count, 0, 0, 0};
    for (size_t i = 0; i < count; ++i) {
        const uint8_t exponent = (uint8_t)(weights[i] >> 7);
        const size_t rank = ranks[exponent];
        if (rank < 9) {
            bytes[16 + rank] = exponent;
        }
        counts[1] += rank >= 3;
        counts[2] += rank >= 6;
        counts[3] += rank >= 9;
    }
    for (size_t i = 0; i < 16; ++i) {
        bytes[i] = counts[i / 4] >> 8 * (i % 4) & 255;
    }
    uint8_t *tiers[3] = {bytes + 64, bytes + 64 + tier_bytes(count), NULL};
    tiers[2] = tiers[1] + tier_bytes(counts[1]);
    uint8_t *escapes = tiers[2] + tier_bytes(counts[2]);
    const size_t end_of_escapes = (size_t)(escapes - bytes) + counts[3];
    uint8_t *sign_mantissa = bytes + ceil64(end_of_escapes);
    const size_t size = (size_t)(sign_mantissa - bytes) + ceil64(count);
    memset(bytes + 64, 0, size - 64);

    size_t written[4] = {0};
    for (size_t i = 0; i < count; ++i) {
        const uint8_t exponent = (uint8_t)(weights[i] >> 7);
        sign_mantissa[i] = (uint8_t)(weights[i] << 1 | weights[i] >> 15);
        size_t rank = ranks[exponent];
        size_t tier = 0;
        for (; tier < 3 && rank >= 3; ++tier) {
            put_symbol(tiers[tier], written[tier]++, 3);
            rank -= 3;
        }
        if (tier < 3) {
            put_symbol(tiers[tier], written[tier]++, (unsigned)rank);
        } else {
            escapes[written[3]++] = exponent;
        }
    }
    return size;
}

// ---- decoding ---------------------------------------------------------------------------------------------------

typedef struct segment_parts {
    size_t counts[4];
    const uint8_t *palette;
    const uint8_t *tiers[3];
    const uint8_t *escapes;
    const uint8_t *sign_mantissa;
} segment_parts;

// False unless sizes and counts fit and what has to be zero is.
static bool open_segment(const uint8_t *bytes, size_t size, size_t count, segment_parts *parts) {
    if (count == 0 || count > LAMINA_TIER_LARGEST || size < 64) {
        return false;
    }
    for (size_t i = 0; i < 4; ++i) {
        parts->counts[i] = load_u32(bytes + 4 * i);
    }
    parts->palette = bytes + 16;
    size_t offset = 64;
    for (size_t tier = 0; tier < 3; ++tier) {
        parts->tiers[tier] = bytes + offset;
        offset += tier_bytes(parts->counts[tier]);
    }
    parts->escapes = bytes + offset;
    offset = ceil64(offset + parts->counts[3]);
    parts->sign_mantissa = bytes + offset;
    if (parts->counts[0] != count || offset + ceil64(count) != size) {
        return false;
    }
    for (size_t i = 25; i < 64; ++i) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    for (size_t tier = 0; tier < 3; ++tier) {
        for (size_t i = parts->counts[tier]; i < ceil64(parts->counts[tier]); ++i) {
            if (symbol_at(parts->tiers[tier], i) != 0) {
                return false;
            }
        }
    }
    return true;
}

bool lamina_reference_decode_tier(const void *segment, size_t size, uint16_t *weights, size_t count, void *scratch) {
    (void)scratch;
    segment_parts parts;
    if (!open_segment(segment, size, count, &parts)) {
        return false;
    }
    size_t used[4] = {0};
    for (size_t i = 0; i < count; ++i) {
        unsigned symbol = 3;
        size_t tier = 0;
        for (; tier < 3 && symbol == 3; ++tier) {
            if (used[tier] == parts.counts[tier]) {
                return false;
            }
            symbol = symbol_at(parts.tiers[tier], used[tier]++);
        }
        if (symbol == 3 && used[3] == parts.counts[3]) {
            return false;
        }
        const uint8_t exponent = symbol == 3 ? parts.escapes[used[3]++] : parts.palette[3 * (tier - 1) + symbol];
        const uint16_t rotated = (uint16_t)(exponent << 8 | parts.sign_mantissa[i]);
        weights[i] = (uint16_t)(rotated >> 1 | rotated << 15);
    }
    return memcmp(used, parts.counts, sizeof used) == 0;
}

// All of the panel at once, so in memory of its own rather than the scratch.
bool lamina_reference_multiply_tier_panel(const lamina_panel_task *task, size_t size, void *scratch) {
    const size_t count = task->width * task->k_count;
    uint16_t *words = malloc(count * sizeof *words);
    if (words == NULL) {
        return false;
    }
    const bool decoded = lamina_reference_decode_tier(task->weights, size, words, count, scratch);
    if (decoded) {
        lamina_panel_task plain = *task;
        plain.weights = words;
        lamina_kernels_reference()->multiply_panel[LAMINA_WEIGHT_BF16](&plain);
    }
    free(words);
    return decoded;
}
