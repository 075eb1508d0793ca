// What the parts of the check share: random numbers, comparison with the reference, and the digest of all results.
#ifndef LAMINA_CHECK_H
#define LAMINA_CHECK_H

#include "lamina_kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct check {
    const lamina_kernels *kernels;
    const lamina_kernels *reference;
    bool digesting;  // only one table per machine, since machines have different numbers of them
    uint64_t digest;
    uint64_t state;
    size_t passed;
    size_t failed;
} check;

// splitmix64
static inline uint64_t next_random(check *c) {
    uint64_t z = c->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// About one in 32 is a zero of either sign or a denormal.
static inline float next_float(check *c) {
    const uint64_t random = next_random(c);
    const float sign = random & 1 ? -1.0f : 1.0f;
    switch (random >> 1 & 63) {
    case 0: return sign * 0.0f;
    case 1: return sign * 0x1p-149f * (float)(random >> 40);
    default: return sign * ((float)(random >> 40) * 0x1p-24f + 0x1p-10f);
    }
}

static inline void fill(check *c, float *values, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        values[i] = next_float(c);
    }
}

static inline void add_to_digest(check *c, const void *bytes, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        c->digest = (c->digest ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
    }
}

static inline void expect_same(check *c, const char *what, const void *found, const void *expected, size_t size) {
    if (c->digesting) {
        add_to_digest(c, found, size);
    }
    if (memcmp(found, expected, size) == 0) {
        c->passed += 1;
        return;
    }
    c->failed += 1;
    printf("failed: %s on %s differs from the reference\n", what, lamina_isa_name(c->kernels->isa));
}

// As expect_same, but any NaN equals any other: instruction sets differ in which one they make.
static inline void expect_same_floats(check *c, const char *what, float *found, float *expected, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        if (isnan(found[i]) && isnan(expected[i])) {
            found[i] = expected[i] = NAN;
        }
    }
    expect_same(c, what, found, expected, count * sizeof *found);
}

// check_panels.c
void check_panels(check *c);
// check_codes.c
void check_codes(check *c);
// check_elementwise.c
void check_elementwise(check *c);
// check_attention.c
void check_attention(check *c);
// check_quantized.c
void check_quantized(check *c);
// check_quantize.c
void check_quantize(check *c);

#endif
