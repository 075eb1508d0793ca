// The slow, obvious version of the ecq-tier kernels: one code after the other, straight from formats/ecq-tier.md.
#include "reference.h"

typedef struct split {
    size_t raw_bits;
    size_t bias;
    size_t widths[4];
} split;

typedef struct parts {
    size_t bits;        // of a code in tier 1
    size_t offsets[5];  // of the tiers, tier 1 first, then of the escapes
    size_t end;         // of the escapes
    size_t size;
} parts;

static size_t ceil64(size_t value) {
    return (value + 63) / 64 * 64;
}

static parts parts_of(const split *s, const size_t counts[5]) {
    parts p = {.bits = s->raw_bits + s->widths[0]};
    size_t offset = 64;
    for (size_t tier = 1; tier < 4; ++tier) {
        p.offsets[tier] = offset;
        offset += ceil64(counts[tier]) / 8 * s->widths[tier];
    }
    p.offsets[4] = offset;
    p.end = offset + counts[4];
    p.offsets[0] = ceil64(p.end);
    p.size = p.offsets[0] + counts[0] * (p.bits == 0 ? 8 : p.bits) / 8;
    return p;
}

// ---- bits in their places ---------------------------------------------------------------------------------------

// Of bit `bit` of the symbol of code `index` in tier 1, which has `bits` bits: the byte from the tier's beginning, and
// the place there.
static size_t place_in_tier_1(size_t bits, size_t index, size_t bit, size_t *place) {
    const size_t part = index % 512 / 64;
    size_t byte = index / 512 * bits * 64 + index % 64;
    size_t above = bits;
    for (size_t width = 4; width >= 1; width /= 2) {
        if ((bits & width) == 0) {
            continue;
        }
        above -= width;
        if (bit >= above) {
            *place = part * width % 8 + (bit - above);
            return byte + part * width / 8 * 64;
        }
        byte += width * 64;
    }
    return byte;
}

static size_t place_in_lower_tier(size_t width, size_t index, size_t bit, size_t *place) {
    *place = index % 8;
    return (index / 64 * width + bit) * 8 + index % 64 / 8;
}

typedef size_t place_of(size_t bits, size_t index, size_t bit, size_t *place);

static unsigned symbol_at(const uint8_t *tier, place_of *place_of, size_t bits, size_t index) {
    unsigned symbol = 0;
    for (size_t bit = 0; bit < bits; ++bit) {
        size_t place = 0;
        const size_t byte = place_of(bits, index, bit, &place);
        symbol |= (tier[byte] >> place & 1u) << bit;
    }
    return symbol;
}

static void put_symbol(uint8_t *tier, place_of *place_of, size_t bits, size_t index, size_t symbol) {
    for (size_t bit = 0; bit < bits; ++bit) {
        size_t place = 0;
        const size_t byte = place_of(bits, index, bit, &place);
        tier[byte] |= (uint8_t)((symbol >> bit & 1) << place);
    }
}

// ---- encoding ---------------------------------------------------------------------------------------------------

static uint8_t base_of(const split *s, uint8_t code) {
    const size_t step = (size_t)1 << s->raw_bits;
    return (uint8_t)(code - (code + s->bias) % 256 % step);
}

// Every base's rank by frequency, ties to the smaller base.
static void rank_bases(const split *s, const size_t frequencies[256], size_t ranks[256]) {
    size_t sums[256] = {0};
    for (size_t code = 0; code < 256; ++code) {
        sums[base_of(s, (uint8_t)code)] += frequencies[code];
    }
    for (size_t base = 0; base < 256; ++base) {
        ranks[base] = 0;
        for (size_t other = 0; other < 256; ++other) {
            ranks[base] += sums[other] > sums[base] || (sums[other] == sums[base] && other < base);
        }
    }
}

// The tier, from 0, that names a base of this rank, and its symbol there; 4 for an escape.
static size_t tier_of(const split *s, size_t rank, size_t *symbol) {
    size_t tier = 0;
    for (; tier < 4 && rank >= ((size_t)1 << s->widths[tier]) - 1; ++tier) {
        rank -= ((size_t)1 << s->widths[tier]) - 1;
    }
    *symbol = rank;
    return tier;
}

static void count_symbols(const split *s, const size_t frequencies[256], const size_t ranks[256], size_t counts[5]) {
    memset(counts, 0, 5 * sizeof *counts);
    for (size_t code = 0; code < 256; ++code) {
        size_t symbol;
        const size_t named = tier_of(s, ranks[base_of(s, (uint8_t)code)], &symbol);
        for (size_t tier = 0; tier <= named; ++tier) {
            counts[tier] += frequencies[code];
        }
    }
}

// The smallest segment's split, of equally small ones the first in this order; verbatim unless one is smaller.
static split choose_split(const size_t frequencies[256], size_t count) {
    split best = {0};
    size_t smallest = 64 + count;
    for (size_t raw_bits = 0; raw_bits <= 3; ++raw_bits) {
        const size_t half = ((size_t)1 << raw_bits) / 2;
        for (size_t bias = 0; bias <= half; bias += half == 0 ? 1 : half) {
            split s = {.raw_bits = raw_bits, .bias = bias};
            size_t ranks[256];
            rank_bases(&s, frequencies, ranks);
            for (size_t i = 0; i < 2 * 27; ++i) {
                const size_t widths[4] = {2 + i / 27, 1 + i / 9 % 3, 1 + i / 3 % 3, 1 + i % 3};
                memcpy(s.widths, widths, sizeof widths);
                size_t counts[5];
                count_symbols(&s, frequencies, ranks, counts);
                const parts p = parts_of(&s, counts);
                if (p.size < smallest) {
                    smallest = p.size;
                    best = s;
                }
            }
        }
    }
    return best;
}

static void put_tiers(const split *s, const parts *p, const size_t ranks[256], const uint8_t *codes, size_t count,
                      uint8_t *bytes) {
    size_t written[5] = {0};
    for (size_t i = 0; i < count; ++i) {
        const uint8_t base = base_of(s, codes[i]);
        size_t symbol;
        const size_t named = tier_of(s, ranks[base], &symbol);
        for (size_t tier = 0; tier <= named && tier < 4; ++tier) {
            const size_t found = tier == named ? symbol : ((size_t)1 << s->widths[tier]) - 1;
            if (tier == 0) {
                const size_t raw = (uint8_t)(codes[i] - base);
                put_symbol(bytes + p->offsets[0], place_in_tier_1, p->bits, i, found << s->raw_bits | raw);
            } else {
                put_symbol(bytes + p->offsets[tier], place_in_lower_tier, s->widths[tier], written[tier]++, found);
            }
        }
        if (named == 4) {
            bytes[p->offsets[4] + written[4]++] = base;
        } else {
            bytes[32 + 8 * named + symbol] = base;
        }
    }
}

size_t lamina_reference_encode_codes(const uint8_t *codes, size_t count, void *segment) {
    size_t frequencies[256] = {0};
    for (size_t i = 0; i < count; ++i) {
        frequencies[codes[i]] += 1;
    }
    const split s = choose_split(frequencies, count);
    size_t ranks[256];
    size_t counts[5] = {count};
    if (s.widths[0] != 0) {
        rank_bases(&s, frequencies, ranks);
        count_symbols(&s, frequencies, ranks, counts);
    }
    const parts p = parts_of(&s, counts);
    uint8_t *bytes = segment;
    memset(bytes, 0, p.size);
    for (size_t i = 0; i < 20; ++i) {
        bytes[i] = counts[i / 4] >> 8 * (i % 4) & 255;
    }
    bytes[20] = (uint8_t)s.raw_bits;
    for (size_t tier = 0; tier < 4; ++tier) {
        bytes[21 + tier] = (uint8_t)s.widths[tier];
    }
    if (p.bits == 0) {
        memcpy(bytes + p.offsets[0], codes, count);
    } else {
        put_tiers(&s, &p, ranks, codes, count, bytes);
    }
    return p.size;
}

// ---- decoding ---------------------------------------------------------------------------------------------------

static bool read_header(const uint8_t *bytes, size_t count, split *s, size_t counts[5]) {
    *s = (split){.raw_bits = bytes[20]};
    for (size_t i = 0; i < 5; ++i) {
        counts[i] = (size_t)bytes[4 * i] | (size_t)bytes[4 * i + 1] << 8 | (size_t)bytes[4 * i + 2] << 16 |
                    (size_t)bytes[4 * i + 3] << 24;
    }
    bool is_verbatim = s->raw_bits == 0;
    bool is_coded = s->raw_bits <= 3;
    for (size_t tier = 0; tier < 4; ++tier) {
        s->widths[tier] = bytes[21 + tier];
        is_verbatim = is_verbatim && s->widths[tier] == 0 && counts[tier + 1] == 0;
        is_coded = is_coded && s->widths[tier] >= (tier == 0 ? 2 : 1) && s->widths[tier] <= 3;
    }
    return counts[0] == count && (is_verbatim || is_coded);
}

// Reserved bytes, entries that no symbol has, symbols behind the last one, bytes behind the escapes.
static bool unused_is_zero(const uint8_t *bytes, const split *s, const parts *p, const size_t counts[5]) {
    unsigned all = 0;
    for (size_t i = 25; i < 32; ++i) {
        all |= bytes[i];
    }
    for (size_t tier = 0; tier < 4; ++tier) {
        for (size_t symbol = ((size_t)1 << s->widths[tier]) - 1; symbol < 8; ++symbol) {
            all |= bytes[32 + 8 * tier + symbol];
        }
        for (size_t i = counts[tier]; tier > 0 && i < ceil64(counts[tier]); ++i) {
            all |= symbol_at(bytes + p->offsets[tier], place_in_lower_tier, s->widths[tier], i);
        }
    }
    for (size_t i = p->end; i < p->offsets[0]; ++i) {
        all |= bytes[i];
    }
    return all == 0;
}

static bool decode_tiers(const uint8_t *bytes, const split *s, const parts *p, const size_t counts[5], uint8_t *codes) {
    size_t used[5] = {0};
    for (size_t i = 0; i < counts[0]; ++i) {
        const unsigned first = symbol_at(bytes + p->offsets[0], place_in_tier_1, p->bits, i);
        unsigned symbol = first >> s->raw_bits;
        size_t tier = 0;
        used[0] += 1;
        while (tier < 4 && symbol == (1u << s->widths[tier]) - 1) {
            tier += 1;
            if (used[tier] == counts[tier]) {
                return false;
            }
            if (tier < 4) {
                symbol = symbol_at(bytes + p->offsets[tier], place_in_lower_tier, s->widths[tier], used[tier]);
            }
            used[tier] += 1;
        }
        const uint8_t base = tier < 4 ? bytes[32 + 8 * tier + symbol] : bytes[p->offsets[4] + used[4] - 1];
        codes[i] = (uint8_t)(base + (first & ((1u << s->raw_bits) - 1)));
    }
    return memcmp(used, counts, sizeof used) == 0;
}

bool lamina_reference_decode_codes(const void *segment, size_t size, uint8_t *codes, size_t count, void *scratch) {
    (void)scratch;
    const uint8_t *bytes = segment;
    split s;
    size_t counts[5];
    const bool has_header = count > 0 && count <= LAMINA_CODES_LARGEST && count % LAMINA_CODES_GROUP == 0 && size >= 64;
    if (!has_header || !read_header(bytes, count, &s, counts)) {
        return false;
    }
    const parts p = parts_of(&s, counts);
    if (p.size != size || !unused_is_zero(bytes, &s, &p, counts)) {
        return false;
    }
    if (p.bits == 0) {
        memcpy(codes, bytes + p.offsets[0], count);
        return true;
    }
    return decode_tiers(bytes, &s, &p, counts, codes);
}
