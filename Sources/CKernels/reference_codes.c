// The slow, obvious version of the ecq-tier kernels: one code after the other, straight from formats/ecq-tier.md.
#include "reference.h"

// Tier 1, the bits of its pairs, tiers 2 to 5, escapes: `counts` and `offsets` are in this order.
enum { TIERS = 5, STREAMS = 7, PAIRS = 1, ESCAPES = 6, PALETTE = 35 };

typedef struct split {
    size_t raw_bits;
    size_t bias;  // not stored
    size_t singles;
    size_t widths[TIERS];
} split;

typedef struct parts {
    size_t bits;  // of a code in tier 1
    size_t offsets[STREAMS];
    size_t end;   // of the escapes
    size_t size;
} parts;

static size_t ceil64(size_t value) {
    return (value + 63) / 64 * 64;
}

// Bits of a symbol of the pairs' stream or one behind it.
static size_t width_of(const split *s, size_t stream) {
    return stream == PAIRS ? 1 : s->widths[stream - PAIRS];
}

static size_t last_of(const split *s, size_t tier) {
    return ((size_t)1 << s->widths[tier]) - 1;
}

static size_t entries_of(const split *s, size_t tier) {
    return tier == 0 ? s->singles + 2 * (last_of(s, 0) - s->singles) : last_of(s, tier);
}

static parts parts_of(const split *s, const size_t counts[STREAMS]) {
    parts p = {.bits = s->raw_bits + s->widths[0]};
    size_t offset = 64;
    for (size_t stream = PAIRS; stream < ESCAPES; ++stream) {
        p.offsets[stream] = offset;
        offset += ceil64(counts[stream]) / 8 * width_of(s, stream);
    }
    p.offsets[ESCAPES] = offset;
    p.end = offset + counts[ESCAPES];
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

// What a code becomes.
typedef struct coded {
    size_t rank;     // of its base, and its place in the palette
    size_t tier;     // from 0, that names the base; TIERS: an escape
    size_t symbol;   // there
    bool is_paired;
    size_t choice;   // between the two
} coded;

static coded coded_of(const split *s, size_t rank) {
    coded c = {.rank = rank, .symbol = rank};
    while (c.tier < TIERS && c.symbol >= entries_of(s, c.tier)) {
        c.symbol -= entries_of(s, c.tier);
        c.tier += 1;
    }
    if (c.tier == 0 && c.symbol >= s->singles) {
        const size_t place = c.symbol - s->singles;
        c.is_paired = true;
        c.symbol = s->singles + place / 2;
        c.choice = place % 2;
    }
    return c;
}

static void count_symbols(
    const split *s, const size_t frequencies[256], const size_t ranks[256], size_t counts[STREAMS]) {
    memset(counts, 0, STREAMS * sizeof *counts);
    for (size_t code = 0; code < 256; ++code) {
        const coded c = coded_of(s, ranks[base_of(s, (uint8_t)code)]);
        counts[0] += frequencies[code];
        counts[PAIRS] += c.is_paired ? frequencies[code] : 0;
        for (size_t tier = 1; tier <= c.tier; ++tier) {
            counts[PAIRS + tier] += frequencies[code];
        }
    }
}

// The smallest segment's split without regard to the zeros behind the escapes, of equally small ones the first in this
// order; verbatim unless one is smaller.
static split choose_split(const size_t frequencies[256], size_t count) {
    split best = {0};
    size_t smallest = 64 + count;
    for (size_t raw_bits = 0; raw_bits <= 3; ++raw_bits) {
        const size_t half = ((size_t)1 << raw_bits) / 2;
        for (size_t bias = 0; bias <= half; bias += half == 0 ? 1 : half) {
            split s = {.raw_bits = raw_bits, .bias = bias};
            size_t ranks[256];
            rank_bases(&s, frequencies, ranks);
            for (size_t i = 0; i < (4 + 8) * 16; ++i) {
                const bool is_narrow = i < 4 * 16;
                s.singles = is_narrow ? i / 16 : i / 16 - 4;
                const size_t widths[TIERS] = {
                    is_narrow ? 2 : 3, 1 + i / 8 % 2, 1 + i / 4 % 2, 1 + i / 2 % 2, 1 + i % 2,
                };
                memcpy(s.widths, widths, sizeof widths);
                size_t counts[STREAMS];
                count_symbols(&s, frequencies, ranks, counts);
                const parts p = parts_of(&s, counts);
                const size_t size = p.size - p.offsets[0] + p.end;
                if (size < smallest) {
                    smallest = size;
                    best = s;
                }
            }
        }
    }
    return best;
}

static void put_codes(const split *s, const parts *p, const size_t ranks[256], const uint8_t *codes, size_t count,
                      uint8_t *bytes) {
    size_t written[STREAMS] = {0};
    for (size_t i = 0; i < count; ++i) {
        const uint8_t base = base_of(s, codes[i]);
        const size_t raw = (uint8_t)(codes[i] - base);
        const coded c = coded_of(s, ranks[base]);
        const size_t first = c.tier == 0 ? c.symbol : last_of(s, 0);
        put_symbol(bytes + p->offsets[0], place_in_tier_1, p->bits, i, first << s->raw_bits | raw);
        if (c.is_paired) {
            put_symbol(bytes + p->offsets[PAIRS], place_in_lower_tier, 1, written[PAIRS]++, c.choice);
        }
        for (size_t tier = 1; tier <= c.tier && tier < TIERS; ++tier) {
            const size_t stream = PAIRS + tier;
            const size_t symbol = tier == c.tier ? c.symbol : last_of(s, tier);
            put_symbol(bytes + p->offsets[stream], place_in_lower_tier, s->widths[tier], written[stream]++, symbol);
        }
        if (c.tier == TIERS) {
            bytes[p->offsets[ESCAPES] + written[ESCAPES]++] = base;
        } else {
            bytes[PALETTE + c.rank] = base;
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
    size_t counts[STREAMS] = {count};
    if (s.widths[0] != 0) {
        rank_bases(&s, frequencies, ranks);
        count_symbols(&s, frequencies, ranks, counts);
    }
    const parts p = parts_of(&s, counts);
    uint8_t *bytes = segment;
    memset(bytes, 0, p.size);
    for (size_t i = 0; i < 4 * STREAMS; ++i) {
        bytes[i] = counts[i / 4] >> 8 * (i % 4) & 255;
    }
    bytes[28] = (uint8_t)s.raw_bits;
    bytes[29] = (uint8_t)s.singles;
    for (size_t tier = 0; tier < TIERS; ++tier) {
        bytes[30 + tier] = (uint8_t)s.widths[tier];
    }
    if (p.bits == 0) {
        memcpy(bytes + p.offsets[0], codes, count);
    } else {
        put_codes(&s, &p, ranks, codes, count, bytes);
    }
    return p.size;
}

// ---- decoding ---------------------------------------------------------------------------------------------------

static bool read_header(const uint8_t *bytes, size_t count, split *s, size_t counts[STREAMS]) {
    *s = (split){.raw_bits = bytes[28], .singles = bytes[29]};
    bool is_verbatim = s->raw_bits == 0 && s->singles == 0;
    for (size_t i = 0; i < STREAMS; ++i) {
        counts[i] = (size_t)bytes[4 * i] | (size_t)bytes[4 * i + 1] << 8 | (size_t)bytes[4 * i + 2] << 16 |
                    (size_t)bytes[4 * i + 3] << 24;
        is_verbatim = is_verbatim && (i == 0 || counts[i] == 0);
    }
    bool is_coded = s->raw_bits <= 3;
    for (size_t tier = 0; tier < TIERS; ++tier) {
        s->widths[tier] = bytes[30 + tier];
        is_verbatim = is_verbatim && s->widths[tier] == 0;
        is_coded = is_coded && s->widths[tier] >= (tier == 0 ? 2 : 1) && s->widths[tier] <= (tier == 0 ? 3 : 2);
    }
    return counts[0] == count && (is_verbatim || (is_coded && s->singles <= last_of(s, 0)));
}

// Bytes behind the palette, symbols behind a stream's last one, bytes behind the escapes.
static bool unused_is_zero(const uint8_t *bytes, const split *s, const parts *p, const size_t counts[STREAMS]) {
    unsigned all = 0;
    size_t used = PALETTE;
    for (size_t tier = 0; tier < TIERS; ++tier) {
        used += entries_of(s, tier);
    }
    for (; used < 64; ++used) {
        all |= bytes[used];
    }
    for (size_t stream = PAIRS; stream < ESCAPES; ++stream) {
        for (size_t i = counts[stream]; i < ceil64(counts[stream]); ++i) {
            all |= symbol_at(bytes + p->offsets[stream], place_in_lower_tier, width_of(s, stream), i);
        }
    }
    for (size_t i = p->end; i < p->offsets[0]; ++i) {
        all |= bytes[i];
    }
    return all == 0;
}

// The next of a stream; false if there is none.
static bool take(const uint8_t *bytes, const split *s, const parts *p, const size_t counts[STREAMS], size_t stream,
                 size_t used[STREAMS], unsigned *symbol) {
    const uint8_t *begin = bytes + p->offsets[stream];
    const size_t index = used[stream];
    if (index == counts[stream]) {
        return false;
    }
    *symbol = stream == ESCAPES ? begin[index] : symbol_at(begin, place_in_lower_tier, width_of(s, stream), index);
    used[stream] += 1;
    return true;
}

static bool take_base(const uint8_t *bytes, const split *s, const parts *p, const size_t counts[STREAMS],
                      size_t used[STREAMS], unsigned symbol, uint8_t *base) {
    const uint8_t *palette = bytes + PALETTE;
    unsigned choice = 0;
    size_t tier = 0;
    while (tier < TIERS && symbol == last_of(s, tier)) {
        palette += entries_of(s, tier);
        tier += 1;
        if (!take(bytes, s, p, counts, PAIRS + tier, used, &symbol)) {
            return false;
        }
    }
    if (tier == 0 && symbol >= s->singles) {
        if (!take(bytes, s, p, counts, PAIRS, used, &choice)) {
            return false;
        }
        symbol = (unsigned)s->singles + 2 * (symbol - (unsigned)s->singles) + choice;
    }
    *base = tier < TIERS ? palette[symbol] : (uint8_t)symbol;
    return true;
}

static bool decode_streams(
    const uint8_t *bytes, const split *s, const parts *p, const size_t counts[STREAMS], uint8_t *codes) {
    size_t used[STREAMS] = {counts[0]};
    for (size_t i = 0; i < counts[0]; ++i) {
        const unsigned first = symbol_at(bytes + p->offsets[0], place_in_tier_1, p->bits, i);
        uint8_t base;
        if (!take_base(bytes, s, p, counts, used, first >> s->raw_bits, &base)) {
            return false;
        }
        codes[i] = (uint8_t)(base + (first & ((1u << s->raw_bits) - 1)));
    }
    return memcmp(used, counts, sizeof used) == 0;
}

bool lamina_reference_decode_codes(const void *segment, size_t size, uint8_t *codes, size_t count, void *scratch) {
    (void)scratch;
    const uint8_t *bytes = segment;
    split s;
    size_t counts[STREAMS];
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
    return decode_streams(bytes, &s, &p, counts, codes);
}
