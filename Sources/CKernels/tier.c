// The parts of exp-tier segments that no instruction set makes faster.
#include "tier.h"

static size_t rounded_up(size_t size) {
    return (size + TIER_ALIGNMENT - 1) / TIER_ALIGNMENT * TIER_ALIGNMENT;
}

tier_layout lamina_tier_layout(const size_t counts[TIER_COUNT + 1]) {
    tier_layout layout;
    size_t offset = TIER_HEADER;
    for (size_t tier = 0; tier <= TIER_COUNT; ++tier) {
        layout.counts[tier] = counts[tier];
        layout.offsets[tier] = offset;
        offset += tier < TIER_COUNT ? tier_groups(counts[tier]) * TIER_GROUP_BYTES : counts[tier];
    }
    layout.sign_mantissa = rounded_up(offset);
    layout.size = layout.sign_mantissa + rounded_up(counts[0]);
    return layout;
}

size_t lamina_tier_bound(size_t count) {
    const size_t all_escape[TIER_COUNT + 1] = {count, count, count, count};
    return lamina_tier_layout(all_escape).size;
}

static bool fill_is_zero(const uint8_t *tier, size_t symbols) {
    if (symbols % TIER_GROUP == 0) {
        return true;
    }
    const uint8_t *group = tier + symbols / TIER_GROUP * TIER_GROUP_BYTES;
    return (tier_load_bits(group) | tier_load_bits(group + 8)) >> symbols % TIER_GROUP == 0;
}

bool lamina_tier_open(const uint8_t *segment, size_t size, size_t count, tier_layout *layout) {
    if (count == 0 || count > LAMINA_TIER_LARGEST || size < TIER_HEADER) {
        return false;
    }
    uint32_t stored[TIER_COUNT + 1];
    memcpy(stored, segment, sizeof stored);
    size_t counts[TIER_COUNT + 1];
    for (size_t tier = 0; tier <= TIER_COUNT; ++tier) {
        counts[tier] = stored[tier];
        if (counts[tier] > (tier == 0 ? count : counts[tier - 1])) {
            return false;
        }
    }
    *layout = lamina_tier_layout(counts);
    if (counts[0] != count || layout->size != size) {
        return false;
    }
    uint8_t reserved = 0;
    for (size_t i = TIER_PALETTE_OFFSET + TIER_PALETTE; i < TIER_HEADER; ++i) {
        reserved |= segment[i];
    }
    bool zero = reserved == 0;
    for (size_t tier = 0; tier < TIER_COUNT; ++tier) {
        zero = fill_is_zero(segment + layout->offsets[tier], counts[tier]) && zero;
    }
    return zero;
}

// The most frequent exponents first, ties to the smaller; 0 where there is none left.
static void choose_palette(const uint32_t frequencies[256], uint8_t palette[TIER_PALETTE]) {
    bool chosen[256] = {false};
    for (size_t i = 0; i < TIER_PALETTE; ++i) {
        size_t best = 0;
        uint32_t most = 0;
        for (size_t exponent = 0; exponent < 256; ++exponent) {
            if (!chosen[exponent] && frequencies[exponent] > most) {
                best = exponent;
                most = frequencies[exponent];
            }
        }
        chosen[best] = chosen[best] || most > 0;
        palette[i] = (uint8_t)best;
    }
}

tier_layout lamina_tier_begin(const uint32_t frequencies[256], uint8_t *segment) {
    memset(segment, 0, TIER_HEADER);
    uint8_t *palette = segment + TIER_PALETTE_OFFSET;
    choose_palette(frequencies, palette);
    uint32_t unnamed[256];
    memcpy(unnamed, frequencies, sizeof unnamed);
    size_t counts[TIER_COUNT + 1] = {0};
    for (size_t tier = 0; tier <= TIER_COUNT; ++tier) {
        for (size_t exponent = 0; exponent < 256; ++exponent) {
            counts[tier] += unnamed[exponent];
        }
        for (size_t i = 0; tier < TIER_COUNT && i < TIER_ENTRIES; ++i) {
            unnamed[palette[tier * TIER_ENTRIES + i]] = 0;
        }
        const uint32_t stored = (uint32_t)counts[tier];
        memcpy(segment + tier * sizeof stored, &stored, sizeof stored);
    }
    const tier_layout layout = lamina_tier_layout(counts);
    const size_t end = layout.offsets[TIER_COUNT] + counts[TIER_COUNT];
    memset(segment + end, 0, layout.sign_mantissa - end);
    return layout;
}
