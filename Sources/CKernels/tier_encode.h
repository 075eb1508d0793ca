// Encoding exp-tier segments: one pass counts the exponents, from which all offsets follow, one writes. What a tier
// does not name is compressed into a buffer, from which the next tier is written. Compiled once per instruction set,
// after these are defined:
//   tier_bytes                          64 bytes in order
//   tier_load_bytes(source)
//   tier_split(words, sign_mantissa)    exponents of 64 words; writes the 64 bytes of the rest
//   tier_equal(bytes, value)            one bit for each
//   tier_compress(bytes, mask, target)  the chosen bytes one after the other; may write up to 64
#ifndef LAMINA_TIER_ENCODE_H
#define LAMINA_TIER_ENCODE_H

#include "tier.h"

enum {
    TIER_ENCODE_RUN = 4096,  // words after which the lower tiers are written
    TIER_WINDOW = 16,        // exponents counted with vectors: of weights all but about one in ten thousand
    // A run, up to a group that was left of each tier before it, and what compressing may write.
    TIER_ENCODE_BUFFER = TIER_ENCODE_RUN + 2 * TIER_GROUP + TIER_GROUP,
};

// A tier being written, and the exponents that it does not name.
typedef struct tier_writer {
    const uint8_t *entries;
    uint8_t *groups;
    size_t rest_count;
    uint8_t rest[TIER_ENCODE_BUFFER];
} tier_writer;

// Added one by one.
static void tier_count_each(const uint8_t *exponents, size_t count, uint32_t frequencies[256]) {
    for (size_t i = 0; i < count; ++i) {
        frequencies[exponents[i]] += 1;
    }
}

// How many of a run's exponents are `value`, in sums that vectors of bytes can hold.
static uint32_t tier_count_value(const uint8_t exponents[TIER_ENCODE_RUN], uint8_t value) {
    uint8_t sums[TIER_GROUP] = {0};
    for (size_t start = 0; start < TIER_ENCODE_RUN; start += TIER_GROUP) {
        for (size_t i = 0; i < TIER_GROUP; ++i) {
            sums[i] = (uint8_t)(sums[i] + (exponents[start + i] == value));
        }
    }
    uint32_t total = 0;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        total += sums[i];
    }
    return total;
}

// Where the window of neighbouring exponents begins that holds most.
static uint8_t tier_choose_window(const uint32_t frequencies[256]) {
    uint32_t sum = 0;
    uint32_t most = 0;
    size_t end_of_best = TIER_WINDOW;
    for (size_t end = 1; end <= 256; ++end) {
        sum += frequencies[end - 1];
        sum -= end > TIER_WINDOW ? frequencies[end - 1 - TIER_WINDOW] : 0;
        if (sum > most && end >= TIER_WINDOW) {
            most = sum;
            end_of_best = end;
        }
    }
    return (uint8_t)(end_of_best - TIER_WINDOW);
}

// The values in the window with vectors, the rest one by one.
static void tier_count_run(const uint8_t exponents[TIER_ENCODE_RUN], uint8_t window, uint32_t frequencies[256]) {
    uint32_t found = 0;
    for (size_t i = 0; i < TIER_WINDOW; ++i) {
        const uint8_t value = (uint8_t)(window + i);
        const uint32_t times = tier_count_value(exponents, value);
        frequencies[value] += times;
        found += times;
    }
    for (size_t start = 0; found < TIER_ENCODE_RUN && start < TIER_ENCODE_RUN; start += TIER_GROUP) {
        uint8_t farthest = 0;
        for (size_t i = 0; i < TIER_GROUP; ++i) {
            const uint8_t distance = (uint8_t)(exponents[start + i] - window);
            farthest = distance > farthest ? distance : farthest;
        }
        for (size_t i = 0; farthest >= TIER_WINDOW && i < TIER_GROUP; ++i) {
            const uint8_t exponent = exponents[start + i];
            const bool outside = (uint8_t)(exponent - window) >= TIER_WINDOW;
            frequencies[exponent] += outside;
            found += outside;
        }
    }
}

static void tier_count_exponents(const uint16_t *weights, size_t count, uint32_t frequencies[256]) {
    uint8_t exponents[TIER_ENCODE_RUN];
    uint8_t window = 0;
    for (size_t done = 0; done < count; done += TIER_ENCODE_RUN) {
        const size_t run = LAMINA_MIN(count - done, (size_t)TIER_ENCODE_RUN);
        for (size_t i = 0; i < run; ++i) {
            exponents[i] = (uint8_t)(weights[done + i] >> 7);
        }
        if (done > 0 && run == TIER_ENCODE_RUN) {
            tier_count_run(exponents, window, frequencies);
        } else {
            tier_count_each(exponents, run, frequencies);
            window = tier_choose_window(frequencies);
        }
    }
}

// One group, of which the symbols in `valid` are there.
LAMINA_INLINE void tier_write_group(tier_writer *writer, tier_bytes bytes, uint64_t valid) {
    // Unused entries of the palette repeat 0: an earlier entry is the one that counts.
    const uint64_t not_first = ~tier_equal(bytes, writer->entries[0]);
    const uint64_t second = tier_equal(bytes, writer->entries[1]);
    const uint64_t not_third = ~tier_equal(bytes, writer->entries[2]);
    const uint64_t low = valid & not_first & (second | not_third);
    const uint64_t high = valid & not_first & ~second;
    memcpy(writer->groups, &low, sizeof low);
    memcpy(writer->groups + 8, &high, sizeof high);
    writer->groups += TIER_GROUP_BYTES;
    tier_compress(bytes, low & high, writer->rest + writer->rest_count);
    writer->rest_count += (size_t)__builtin_popcountll(low & high);
}

// Writes the whole groups of what is left of the tier before, or all of it.
static void tier_drain(tier_writer *before, tier_writer *writer, bool all) {
    const size_t count = before->rest_count;
    size_t done = 0;
    for (; done + TIER_GROUP <= count; done += TIER_GROUP) {
        tier_write_group(writer, tier_load_bytes(before->rest + done), UINT64_MAX);
    }
    if (all && done < count) {
        tier_write_group(writer, tier_load_bytes(before->rest + done), UINT64_MAX >> (TIER_GROUP - (count - done)));
        done = count;
    }
    before->rest_count = count - done;
    memmove(before->rest, before->rest + done, before->rest_count);
}

static void tier_encode_run(tier_writer *writer, const uint16_t *words, uint8_t *sign_mantissa, size_t count) {
    size_t done = 0;
    for (; done + TIER_GROUP <= count; done += TIER_GROUP) {
        tier_write_group(writer, tier_split(words + done, sign_mantissa + done), UINT64_MAX);
    }
    if (done < count) {
        uint16_t last[TIER_GROUP] = {0};
        memcpy(last, words + done, (count - done) * sizeof *last);
        tier_write_group(writer, tier_split(last, sign_mantissa + done), UINT64_MAX >> (TIER_GROUP - (count - done)));
    }
}

static size_t encode_tier(const uint16_t *weights, size_t count, void *segment) {
    uint8_t *bytes = segment;
    uint32_t frequencies[256] = {0};
    tier_count_exponents(weights, count, frequencies);
    const tier_layout layout = lamina_tier_begin(frequencies, bytes);
    tier_writer writers[TIER_COUNT];
    for (size_t tier = 0; tier < TIER_COUNT; ++tier) {
        writers[tier].entries = bytes + TIER_PALETTE_OFFSET + tier * TIER_ENTRIES;
        writers[tier].groups = bytes + layout.offsets[tier];
        writers[tier].rest_count = 0;
    }
    uint8_t *escapes = bytes + layout.offsets[TIER_COUNT];
    for (size_t done = 0; done < count; done += TIER_ENCODE_RUN) {
        const bool ends = count - done <= TIER_ENCODE_RUN;
        tier_encode_run(&writers[0], weights + done, bytes + layout.sign_mantissa + done,
                        LAMINA_MIN(count - done, (size_t)TIER_ENCODE_RUN));
        for (size_t tier = 1; tier < TIER_COUNT; ++tier) {
            tier_drain(&writers[tier - 1], &writers[tier], ends);
        }
        tier_writer *last = &writers[TIER_COUNT - 1];
        memcpy(escapes, last->rest, last->rest_count);
        escapes += last->rest_count;
        last->rest_count = 0;
    }
    return layout.size;
}

#endif
