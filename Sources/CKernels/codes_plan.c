// Which split and which palette make the smallest ecq-tier segment of codes of given frequencies.
#include "codes.h"

// The most frequent bases of one way to split off raw bits.
typedef struct ranking {
    size_t raw_bits;
    uint8_t bias;
    size_t named;                      // bases that occur, as far as a palette has room
    uint64_t keys[CODES_PALETTE];      // frequency << 8 | 255 - base, falling: of equals the smaller base first
    uint32_t sums[CODES_PALETTE + 1];  // frequencies of the first 0, 1, 2, ... bases
} ranking;

// The best split found so far, and the ranking its palette comes from.
typedef struct choice {
    size_t bytes;  // of the segment, without the zeros behind the escapes
    codes_split split;
    size_t counts[CODES_STREAMS];
    ranking ranking;
} choice;

static uint8_t raw_part(uint8_t code, size_t raw_bits, uint8_t bias) {
    return (uint8_t)(code + bias) & (uint8_t)((1u << raw_bits) - 1);
}

static void insert_key(ranking *r, uint64_t key) {
    if (r->named == CODES_PALETTE && key < r->keys[CODES_PALETTE - 1]) {
        return;
    }
    r->named += r->named < CODES_PALETTE;
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
    for (size_t i = 0; i < CODES_PALETTE; ++i) {
        r->sums[i + 1] = r->sums[i] + (uint32_t)(r->keys[i] >> 8);
    }
}

static size_t plane_bytes(size_t symbols, size_t width) {
    return tier_groups(symbols) * width * TIER_PLANE_BYTES;
}

// Tries every width of the tiers from `tier` on, behind `named` bases and `bytes` so far; `split` and `counts` hold
// what is decided above it.
static bool try_lower_tiers(const ranking *r, size_t tier, size_t named, size_t bytes, codes_split *split,
                            size_t counts[CODES_STREAMS], choice *best) {
    const size_t stream = CODES_LOWER + tier - 1;
    counts[stream] = counts[CODES_FIRST] - r->sums[named];
    if (tier == CODES_TIERS) {
        bytes += counts[stream];
        if (bytes >= best->bytes) {
            return false;
        }
        best->bytes = bytes;
        best->split = *split;
        memcpy(best->counts, counts, sizeof best->counts);
        return true;
    }
    bool better = false;
    for (size_t width = 1; width <= CODES_LOWER_WIDTH; ++width) {
        split->widths[tier] = (uint8_t)width;
        better |= try_lower_tiers(r, tier + 1, named + codes_last(split, tier),
                                  bytes + plane_bytes(counts[stream], width), split, counts, best);
    }
    return better;
}

// Of equally good splits the first counts, in the order of these loops and those above.
static void try_ranking(const uint32_t frequencies[256], size_t raw_bits, uint8_t bias, choice *best) {
    ranking r;
    rank_bases(frequencies, raw_bits, bias, &r);
    bool better = false;
    size_t counts[CODES_STREAMS] = {best->counts[CODES_FIRST]};
    codes_split split = {.raw_bits = (uint8_t)raw_bits};
    for (uint8_t width = CODES_FIRST_WIDTH; width <= CODES_WIDTH; ++width) {
        split.widths[0] = width;
        const size_t last = codes_last(&split, 0);
        const size_t bytes = CODES_HEADER + counts[CODES_FIRST] / 8 * (raw_bits + width);
        for (uint8_t singles = 0; singles <= last; ++singles) {
            split.singles = singles;
            const size_t named = codes_entries(&split, 0);
            counts[CODES_PAIRS] = r.sums[named] - r.sums[singles];
            better |= try_lower_tiers(&r, 1, named, bytes + plane_bytes(counts[CODES_PAIRS], 1), &split, counts, best);
        }
    }
    if (better) {
        best->ranking = r;
    }
}

static choice choose_split(const uint32_t frequencies[256], size_t count) {
    choice best = {.bytes = CODES_HEADER + count, .counts = {count}};
    for (size_t raw_bits = 0; raw_bits <= CODES_RAW_BITS; ++raw_bits) {
        try_ranking(frequencies, raw_bits, 0, &best);
        if (raw_bits > 0) {
            // Half a step further: zero is then in the middle of a base's codes, as it is at their edge without.
            try_ranking(frequencies, raw_bits, (uint8_t)(1u << (raw_bits - 1)), &best);
        }
    }
    return best;
}

// Gives a base of the palette its symbol in a stream.
static void name_base(codes_plan *plan, size_t stream, uint8_t base, size_t symbol) {
    const size_t raw_bits = plan->layout.split.raw_bits;
    for (size_t raw = 0; raw < (size_t)1 << raw_bits; ++raw) {
        const size_t found = stream == CODES_FIRST ? symbol << raw_bits | raw : symbol;
        plan->symbols[stream][(uint8_t)(base + raw)] = (uint8_t)found;
    }
}

static void fill_last_symbols(const ranking *r, codes_plan *plan) {
    const codes_split *split = &plan->layout.split;
    memset(plan->symbols[CODES_PAIRS], 0, sizeof plan->symbols[CODES_PAIRS]);
    for (size_t code = 0; code < 256; ++code) {
        const uint8_t raw = raw_part((uint8_t)code, r->raw_bits, r->bias);
        plan->bases[code] = (uint8_t)(code - raw);
        plan->symbols[CODES_FIRST][code] = (uint8_t)(codes_last(split, 0) << split->raw_bits | raw);
        for (size_t tier = 1; tier < CODES_TIERS; ++tier) {
            plan->symbols[CODES_LOWER + tier - 1][code] = (uint8_t)codes_last(split, tier);
        }
    }
}

// `palette` is zero so far, and stays so where no base is left.
static void fill_plan(const ranking *r, codes_plan *plan, uint8_t *palette) {
    const codes_split *split = &plan->layout.split;
    fill_last_symbols(r, plan);
    size_t rank = 0;
    for (size_t tier = 0; tier < CODES_TIERS; ++tier) {
        for (size_t i = 0; i < codes_entries(split, tier) && rank < r->named; ++i, ++rank) {
            const uint8_t base = (uint8_t)(255 - (r->keys[rank] & 255));
            palette[rank] = base;
            if (tier > 0) {
                name_base(plan, CODES_LOWER + tier - 1, base, i);
            } else if (i < split->singles) {
                name_base(plan, CODES_FIRST, base, i);
            } else {
                name_base(plan, CODES_FIRST, base, split->singles + (i - split->singles) / 2);
                name_base(plan, CODES_PAIRS, base, (i - split->singles) % 2);
            }
        }
    }
}

void lamina_codes_begin(const uint32_t frequencies[256], size_t count, codes_plan *plan, uint8_t *segment) {
    const choice best = choose_split(frequencies, count);
    plan->layout = lamina_codes_layout(best.split, best.counts);
    const codes_layout *layout = &plan->layout;
    memset(segment, 0, CODES_HEADER);
    for (size_t stream = 0; stream < CODES_STREAMS; ++stream) {
        const uint32_t stored = (uint32_t)layout->counts[stream];
        memcpy(segment + stream * sizeof stored, &stored, sizeof stored);
    }
    memcpy(segment + CODES_SPLIT_OFFSET, &layout->split, sizeof layout->split);
    if (layout->bits > 0) {
        fill_plan(&best.ranking, plan, segment + CODES_PALETTE_OFFSET);
    }
    const size_t end = layout->offsets[CODES_ESCAPES] + layout->counts[CODES_ESCAPES];
    memset(segment + end, 0, layout->offsets[CODES_FIRST] - end);
}
