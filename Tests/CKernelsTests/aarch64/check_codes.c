// ecq-tier against the reference.
#include "check.h"

enum {
    LARGEST = 80 * LAMINA_CODES_GROUP,
    LARGEST_SEGMENT = LARGEST + 64,
    SAMPLES = 6,
};

static uint8_t codes[LARGEST];
static uint8_t segment[LARGEST_SEGMENT] __attribute__((aligned(64)));
static uint8_t expected_segment[LARGEST_SEGMENT] __attribute__((aligned(64)));
static uint8_t scratch[LAMINA_CODES_SCRATCH] __attribute__((aligned(64)));

// Sums of random numbers, which are nearly normally distributed, of several widths; few codes; all codes.
static void fill_codes(check *c, size_t count, size_t sample) {
    static const int spreads[SAMPLES] = {220, 60, 32, 14, 0, 0};
    const int spread = spreads[sample];
    for (size_t i = 0; i < count; ++i) {
        const uint64_t random = next_random(c);
        int sum = 0;
        for (size_t byte = 0; byte < 8; ++byte) {
            sum += (int)(random >> 8 * byte & 255) - 128;
        }
        codes[i] = (uint8_t)(128 + sum * spread / 1024);
        if (spread == 0) {
            codes[i] = sample == 4 && random % 32 > 0 ? 131 : (uint8_t)(random >> 32);
        }
    }
}

static void check_decoding(check *c, size_t size, size_t count) {
    static uint8_t found[LARGEST];
    static uint8_t expected[LARGEST];
    memset(found, 0, sizeof found);
    memset(expected, 0, sizeof expected);
    const bool accepted = c->kernels->decode_codes(segment, size, found, count, scratch);
    const bool expected_accepted = c->reference->decode_codes(segment, size, expected, count, NULL);
    expect_same(c, "decode_codes' answer", &accepted, &expected_accepted, sizeof accepted);
    if (accepted && expected_accepted) {
        expect_same(c, "decode_codes", found, expected, sizeof found);
    }
}

static void check_segment(check *c, size_t count) {
    memset(segment, 0xee, sizeof segment);
    memset(expected_segment, 0xee, sizeof expected_segment);
    const size_t size = c->kernels->encode_codes(codes, count, segment);
    c->reference->encode_codes(codes, count, expected_segment);
    expect_same(c, "encode_codes", segment, expected_segment, sizeof segment);
    static uint8_t decoded[LARGEST];
    const bool accepted = c->kernels->decode_codes(segment, size, decoded, count, scratch);
    expect_same(c, "decode_codes' answer", &accepted, &(bool){true}, sizeof accepted);
    expect_same(c, "decode_codes", decoded, codes, count);
    for (size_t damage = 0; damage < 8; ++damage) {
        memcpy(segment, expected_segment, size);
        const uint64_t random = next_random(c);
        segment[(random >> 8) % (damage % 2 == 0 ? size : 64)] ^= (uint8_t)(random | 1);
        check_decoding(c, size, count);
    }
}

void check_codes(check *c) {
    for (size_t sample = 0; sample < SAMPLES; ++sample) {
        for (size_t groups = 1; groups * LAMINA_CODES_GROUP <= LARGEST; groups += 1 + groups / 2) {
            fill_codes(c, groups * LAMINA_CODES_GROUP, sample);
            check_segment(c, groups * LAMINA_CODES_GROUP);
        }
    }
}
