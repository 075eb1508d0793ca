// The parts of ecq-tier segments that no instruction set makes faster.
#include "codes.h"

enum { MAXIMUM_NAMED = CODES_TIERS * ((1 << CODES_WIDTH) - 1) };

static size_t rounded_up(size_t size) {
    return (size + TIER_ALIGNMENT - 1) / TIER_ALIGNMENT * TIER_ALIGNMENT;
}

static bool is_verbatim(const codes_split *split) {
    return split->widths[0] == 0;
}

static codes_layout layout_of(codes_split split, const size_t counts[CODES_TIERS + 1]) {
    codes_layout layout = {.split = split, .bits = (size_t)split.raw_bits + split.widths[0]};
    size_t offset = CODES_HEADER;
    for (size_t tier = 1; tier <= CODES_TIERS; ++tier) {
        layout.offsets[tier] = offset;
        offset += tier < CODES_TIERS ? tier_groups(counts[tier]) * split.widths[tier] * TIER_PLANE_BYTES : counts[tier];
    }
    memcpy(layout.counts, counts, sizeof layout.counts);
    layout.offsets[0] = rounded_up(offset);
    layout.size = layout.offsets[0] + (is_verbatim(&split) ? counts[0] : counts[0] / 8 * layout.bits);
    return layout;
}

size_t lamina_codes_bound(size_t count) {
    return CODES_HEADER + count;
}

// ---- decoding ---------------------------------------------------------------------------------------------------

static bool split_is_valid(const codes_split *split) {
    if (is_verbatim(split)) {
        const codes_split verbatim = {0};
        return memcmp(split, &verbatim, sizeof verbatim) == 0;
    }
    bool valid = split->raw_bits <= CODES_RAW_BITS && split->widths[0] >= CODES_FIRST_WIDTH;
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        valid = valid && split->widths[tier] >= 1 && split->widths[tier] <= CODES_WIDTH;
    }
    return valid;
}

static bool all_zero(const uint8_t *bytes, size_t begin, size_t end) {
    uint8_t all = 0;
    for (size_t i = begin; i < end; ++i) {
        all |= bytes[i];
    }
    return all == 0;
}

// The bits behind a tier's last symbol.
static bool fill_is_zero(const uint8_t *tier, size_t symbols, size_t width) {
    if (symbols % TIER_GROUP == 0) {
        return true;
    }
    const uint8_t *group = tier + symbols / TIER_GROUP * width * TIER_PLANE_BYTES;
    uint64_t planes = 0;
    for (size_t bit = 0; bit < width; ++bit) {
        planes |= tier_load_bits(group + bit * TIER_PLANE_BYTES);
    }
    return planes >> symbols % TIER_GROUP == 0;
}

static bool unused_is_zero(const uint8_t *segment, const codes_layout *layout) {
    const codes_split *split = &layout->split;
    bool zero = all_zero(segment, CODES_RESERVED_OFFSET, CODES_PALETTE_OFFSET);
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        const size_t entries = CODES_PALETTE_OFFSET + tier * CODES_ENTRIES;
        const size_t used = ((size_t)1 << split->widths[tier]) - 1;
        zero = zero && all_zero(segment, entries + used, entries + CODES_ENTRIES);
        zero = zero && (tier == 0 || fill_is_zero(segment + layout->offsets[tier], layout->counts[tier],
                                                  split->widths[tier]));
    }
    const size_t end = layout->offsets[CODES_TIERS] + layout->counts[CODES_TIERS];
    return zero && all_zero(segment, end, layout->offsets[0]);
}

bool lamina_codes_open(const uint8_t *segment, size_t size, size_t count, codes_layout *layout) {
    if (count == 0 || count > LAMINA_CODES_LARGEST || count % LAMINA_CODES_GROUP != 0 || size < CODES_HEADER) {
        return false;
    }
    uint32_t stored[CODES_TIERS + 1];
    codes_split split;
    memcpy(stored, segment, sizeof stored);
    memcpy(&split, segment + CODES_SPLIT_OFFSET, sizeof split);
    size_t counts[CODES_TIERS + 1];
    for (size_t tier = 0; tier <= CODES_TIERS; ++tier) {
        counts[tier] = stored[tier];
        if (counts[tier] > (tier == 0 ? count : is_verbatim(&split) ? 0 : counts[tier - 1])) {
            return false;
        }
    }
    if (counts[0] != count || !split_is_valid(&split)) {
        return false;
    }
    *layout = layout_of(split, counts);
    return layout->size == size && unused_is_zero(segment, layout);
}

// ---- encoding ---------------------------------------------------------------------------------------------------

// The most frequent bases of one way to split off raw bits.
typedef struct ranking {
    size_t raw_bits;
    uint8_t bias;
    size_t named;                          // bases that occur, as far as tiers have room
    uint64_t keys[MAXIMUM_NAMED];          // frequency << 8 | 255 - base, falling: of equally frequent ones the smaller first
    uint32_t sums[MAXIMUM_NAMED + 1];      // frequencies of the first 0, 1, 2, ... bases
} ranking;

static uint8_t raw_part(uint8_t code, size_t raw_bits, uint8_t bias) {
    return (uint8_t)(code + bias) & (uint8_t)((1u << raw_bits) - 1);
}

static void insert_key(ranking *r, uint64_t key) {
    if (r->named == MAXIMUM_NAMED && key < r->keys[MAXIMUM_NAMED - 1]) {
        return;
    }
    r->named += r->named < MAXIMUM_NAMED;
    size_t place = r->named - 1;
    for (; place > 0 && r->keys[place - 1] < key; --place) {
        r->keys[place] = r->keys[place - 1];
    }
    r->keys[place] = key;
}

static void rank_bases(const uint32_t frequencies[256], size_t raw_bits, uint8_t bias, ranking *r) {
    *r = (ranking){.raw_bits = raw_bits, .bias = bias};
    for (size_t i = 0; i < 256; i += (size_t)1 << raw_bits) {
        const uint8_t base = (uint8_t)(i - bias);
        uint64_t frequency = 0;
        for (size_t raw = 0; raw < (size_t)1 << raw_bits; ++raw) {
            frequency += frequencies[(uint8_t)(base + raw)];
        }
        if (frequency > 0) {
            insert_key(r, frequency << 8 | (255 - base));
        }
    }
    for (size_t i = 0; i < MAXIMUM_NAMED; ++i) {
        r->sums[i + 1] = r->sums[i] + (uint32_t)(r->keys[i] >> 8);
    }
}

static void count_symbols(const ranking *r, const codes_split *split, size_t counts[CODES_TIERS + 1]) {
    size_t named = 0;
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        named += ((size_t)1 << split->widths[tier]) - 1;
        counts[tier + 1] = counts[0] - r->sums[named];
    }
}

// The widths in the order in which equally good splits are preferred; false after the last.
static bool next_widths(codes_split *split) {
    for (size_t tier = CODES_TIERS; tier-- > 0;) {
        if (split->widths[tier] < CODES_WIDTH) {
            split->widths[tier] += 1;
            return true;
        }
        split->widths[tier] = tier == 0 ? CODES_FIRST_WIDTH : 1;
    }
    return false;
}

// Keeps the split and the ranking in `best_*` if they make a smaller segment than `best`.
static void try_widths(const ranking *r, codes_layout *best, ranking *best_ranking) {
    codes_split split = {.raw_bits = (uint8_t)r->raw_bits, .widths = {CODES_FIRST_WIDTH, 1, 1, 1}};
    size_t counts[CODES_TIERS + 1] = {best->counts[0]};
    bool better = false;
    do {
        count_symbols(r, &split, counts);
        const codes_layout layout = layout_of(split, counts);
        if (layout.size < best->size) {
            *best = layout;
            better = true;
        }
    } while (next_widths(&split));
    if (better) {
        *best_ranking = *r;
    }
}

static void fill_plan(const ranking *r, codes_plan *plan, uint8_t *palette) {
    const codes_split *split = &plan->layout.split;
    for (size_t code = 0; code < 256; ++code) {
        const uint8_t raw = raw_part((uint8_t)code, r->raw_bits, r->bias);
        plan->bases[code] = (uint8_t)(code - raw);
        for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
            const unsigned last = (1u << split->widths[tier]) - 1;
            plan->symbols[tier][code] = (uint8_t)(tier == 0 ? last << split->raw_bits | raw : last);
        }
    }
    size_t rank = 0;
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        const unsigned last = (1u << split->widths[tier]) - 1;
        for (unsigned symbol = 0; symbol < last && rank < r->named; ++symbol, ++rank) {
            const uint8_t base = (uint8_t)(255 - (r->keys[rank] & 255));
            palette[tier * CODES_ENTRIES + symbol] = base;
            for (unsigned raw = 0; raw < 1u << split->raw_bits; ++raw) {
                const uint8_t found = (uint8_t)(tier == 0 ? symbol << split->raw_bits | raw : symbol);
                plan->symbols[tier][(uint8_t)(base + raw)] = found;
            }
        }
    }
}

void lamina_codes_begin(const uint32_t frequencies[256], size_t count, codes_plan *plan, uint8_t *segment) {
    const size_t verbatim[CODES_TIERS + 1] = {count};
    plan->layout = layout_of((codes_split){0}, verbatim);
    ranking r;
    ranking best;
    for (size_t raw_bits = 0; raw_bits <= CODES_RAW_BITS; ++raw_bits) {
        rank_bases(frequencies, raw_bits, 0, &r);
        try_widths(&r, &plan->layout, &best);
        if (raw_bits > 0) {
            // Half a step further: zero is then in the middle of a base's codes, as it is at their edge without.
            rank_bases(frequencies, raw_bits, (uint8_t)(1u << (raw_bits - 1)), &r);
            try_widths(&r, &plan->layout, &best);
        }
    }
    memset(segment, 0, CODES_HEADER);
    const codes_layout *layout = &plan->layout;
    for (size_t tier = 0; tier <= CODES_TIERS; ++tier) {
        const uint32_t stored = (uint32_t)layout->counts[tier];
        memcpy(segment + tier * sizeof stored, &stored, sizeof stored);
    }
    memcpy(segment + CODES_SPLIT_OFFSET, &layout->split, sizeof layout->split);
    if (!is_verbatim(&layout->split)) {
        fill_plan(&best, plan, segment + CODES_PALETTE_OFFSET);
    }
    const size_t end = layout->offsets[CODES_TIERS] + layout->counts[CODES_TIERS];
    memset(segment + end, 0, layout->offsets[0] - end);
}
