// Encoding ecq-tier segments: one pass counts the codes, from which split, palette and all offsets follow, one writes.
// Codes that a tier does not name are compressed into a buffer, from which the next tier is written. Compiled once per
// instruction set, after what tier_encode.h needs and
//   tier_translate(table, source)   the entries of a table of 256 for 64 bytes
//   tier_test(bytes, bit)           one bit for each byte: whether it has this one
//   tier_at_least(bytes, value)     one bit for each byte; both below 128
#ifndef LAMINA_CODES_ENCODE_H
#define LAMINA_CODES_ENCODE_H

#include "codes.h"

enum {
    CODES_ENCODE_RUN = 8 * LAMINA_CODES_GROUP,  // codes after which the lower tiers are written
    // A run, up to a group that was left of each stream before it, and what compressing may write beyond.
    CODES_ENCODE_BUFFER = CODES_ENCODE_RUN + CODES_STREAMS * TIER_GROUP + TIER_GROUP,
    CODES_HISTOGRAMS = 8,  // so that no counter waits for itself
};

// Codes for a stream that is written later.
typedef struct codes_rest {
    size_t count;
    uint8_t codes[CODES_ENCODE_BUFFER];
} codes_rest;

static void codes_count(const uint8_t *codes, size_t count, uint32_t frequencies[256]) {
    uint32_t histograms[CODES_HISTOGRAMS][256] = {{0}};
    for (size_t i = 0; i < count; i += CODES_HISTOGRAMS) {
        uint64_t eight = tier_load_bits(codes + i);
        LAMINA_UNROLL
        for (size_t lane = 0; lane < CODES_HISTOGRAMS; ++lane) {
            histograms[lane][eight & 255] += 1;
            eight >>= 8;
        }
    }
    for (size_t code = 0; code < 256; ++code) {
        frequencies[code] = 0;
        for (size_t lane = 0; lane < CODES_HISTOGRAMS; ++lane) {
            frequencies[code] += histograms[lane][code];
        }
    }
}

// The bits from `shift` on of a group's symbols as a field of `width` bits; returns its end.
LAMINA_INLINE uint8_t *codes_pack_field(const uint8_t *symbols, size_t width, size_t shift, uint8_t *vectors) {
    const uint64_t mask = 0x0101010101010101 * ((1u << width) - 1);
    for (size_t vector = 0; vector < width; ++vector) {
        for (size_t i = 0; i < TIER_GROUP; i += 8) {
            uint64_t packed = 0;
            for (size_t part = 0; part < 8 / width; ++part) {
                const uint64_t eight = tier_load_bits(symbols + (vector * 8 / width + part) * TIER_GROUP + i);
                packed |= (eight >> shift & mask) << part * width;
            }
            memcpy(vectors + i, &packed, sizeof packed);
        }
        vectors += TIER_GROUP;
    }
    return vectors;
}

LAMINA_INLINE void codes_pack_width(const uint8_t *symbols, size_t bits, uint8_t *group) {
    if (bits >= 4) {
        group = codes_pack_field(symbols, 4, bits - 4, group);
    }
    if (bits & 2) {
        group = codes_pack_field(symbols, 2, bits & 1, group);
    }
    if (bits & 1) {
        codes_pack_field(symbols, 1, 0, group);
    }
}

static void codes_pack(const uint8_t *symbols, size_t bits, uint8_t *group) {
    switch (bits) {
    case 2: codes_pack_width(symbols, 2, group); break;
    case 3: codes_pack_width(symbols, 3, group); break;
    case 4: codes_pack_width(symbols, 4, group); break;
    case 5: codes_pack_width(symbols, 5, group); break;
    default: codes_pack_width(symbols, 6, group); break;
    }
}

LAMINA_INLINE void codes_keep_rest(codes_rest *rest, const uint8_t *codes, uint64_t mask) {
    tier_compress(tier_load_bytes(codes), mask, rest->codes + rest->count);
    rest->count += (size_t)__builtin_popcountll(mask);
}

// Tier 1 of one group.
static void codes_write_group(
    const codes_plan *plan, const uint8_t *codes, uint8_t *group, codes_rest *pairs, codes_rest *rest) {
    const codes_split *split = &plan->layout.split;
    const uint8_t first_pair = (uint8_t)(split->singles << split->raw_bits);
    const uint8_t last = (uint8_t)(codes_last(split, 0) << split->raw_bits);
    uint8_t symbols[LAMINA_CODES_GROUP];
    for (size_t part = 0; part < LAMINA_CODES_GROUP; part += TIER_GROUP) {
        const tier_bytes found = tier_translate(plan->symbols[CODES_FIRST], codes + part);
        const uint64_t is_last = tier_at_least(found, last);
        tier_store_values(symbols + part, found);
        codes_keep_rest(pairs, codes + part, tier_at_least(found, first_pair) ^ is_last);
        codes_keep_rest(rest, codes + part, is_last);
    }
    codes_pack(symbols, plan->layout.bits, group);
}

// What a stream is written by, and where it stands.
typedef struct codes_writer {
    const uint8_t *symbols;  // [256]
    size_t planes;
    uint8_t *target;
} codes_writer;

// One group, of which the symbols in `valid` are there; returns which are the last symbol.
static uint64_t codes_write_planes(codes_writer *writer, const uint8_t *codes, uint64_t valid) {
    const tier_bytes found = tier_translate(writer->symbols, codes);
    uint64_t last = valid;
    for (size_t bit = 0; bit < writer->planes; ++bit) {
        const uint64_t plane = tier_test(found, (uint8_t)(1u << bit)) & valid;
        memcpy(writer->target, &plane, sizeof plane);
        writer->target += TIER_PLANE_BYTES;
        last &= plane;
    }
    return last;
}

// Writes the whole groups of the codes for a stream, or all of it; `rest`, if there is one, gets what it does not name.
static void codes_drain(codes_rest *waiting, codes_writer *writer, bool all, codes_rest *rest) {
    size_t done = 0;
    for (; done < waiting->count && (all || done + TIER_GROUP <= waiting->count); done += TIER_GROUP) {
        const size_t left = waiting->count - done;
        const uint64_t valid = left < TIER_GROUP ? UINT64_MAX >> (TIER_GROUP - left) : UINT64_MAX;
        const uint64_t last = codes_write_planes(writer, waiting->codes + done, valid);
        if (rest != NULL) {
            codes_keep_rest(rest, waiting->codes + done, last);
        }
    }
    waiting->count -= LAMINA_MIN(done, waiting->count);
    memmove(waiting->codes, waiting->codes + done, waiting->count);
}

static void codes_write_streams(const codes_plan *plan, const uint8_t *codes, uint8_t *bytes) {
    const codes_layout *layout = &plan->layout;
    codes_rest waiting[CODES_STREAMS] = {{0}};
    codes_writer writers[CODES_ESCAPES];
    for (size_t stream = CODES_PAIRS; stream < CODES_ESCAPES; ++stream) {
        writers[stream] = (codes_writer){
            .symbols = plan->symbols[stream],
            .planes = codes_planes(&layout->split, stream),
            .target = bytes + layout->offsets[stream],
        };
    }
    uint8_t *escapes = bytes + layout->offsets[CODES_ESCAPES];
    uint8_t *group = bytes + layout->offsets[CODES_FIRST];
    const size_t count = layout->counts[CODES_FIRST];
    for (size_t done = 0; done < count;) {
        const size_t end = LAMINA_MIN(count, done + CODES_ENCODE_RUN);
        for (; done < end; done += LAMINA_CODES_GROUP) {
            codes_write_group(plan, codes + done, group, &waiting[CODES_PAIRS], &waiting[CODES_LOWER]);
            group += layout->bits * TIER_GROUP;
        }
        codes_drain(&waiting[CODES_PAIRS], &writers[CODES_PAIRS], done == count, NULL);
        for (size_t stream = CODES_LOWER; stream < CODES_ESCAPES; ++stream) {
            codes_drain(&waiting[stream], &writers[stream], done == count, &waiting[stream + 1]);
        }
        codes_rest *rest = &waiting[CODES_ESCAPES];
        for (size_t i = 0; i < rest->count; ++i) {
            *escapes++ = plan->bases[rest->codes[i]];
        }
        rest->count = 0;
    }
}

static size_t encode_codes(const uint8_t *codes, size_t count, void *segment) {
    uint8_t *bytes = segment;
    uint32_t frequencies[256];
    codes_plan plan;
    codes_count(codes, count, frequencies);
    lamina_codes_begin(frequencies, count, &plan, bytes);
    if (plan.layout.bits == 0) {
        memcpy(bytes + plan.layout.offsets[CODES_FIRST], codes, count);
    } else {
        codes_write_streams(&plan, codes, bytes);
    }
    return plan.layout.size;
}

#endif
