// Vectors of 16 lanes as a language extension of clang and gcc: each instruction set's file compiles them to its own
// registers, as many as it takes, and lanes never mix.
#ifndef LAMINA_VECTORS16_H
#define LAMINA_VECTORS16_H

#include "internal.h"

typedef float floats16 __attribute__((vector_size(64)));
typedef int32_t words16 __attribute__((vector_size(64)));
typedef double doubles16 __attribute__((vector_size(128)));
typedef uint8_t bytes16 __attribute__((vector_size(16)));

// How such vectors are passed depends on the instruction set; these functions are inlined, so nothing is passed. (gcc
// heeds only its option -Wno-psabi.)
#pragma GCC diagnostic ignored "-Wpsabi"

LAMINA_INLINE floats16 floats16_load(const float *source) {
    floats16 lanes;
    memcpy(&lanes, source, sizeof lanes);
    return lanes;
}

// Lanes from `count` on are 0.
LAMINA_INLINE floats16 floats16_load_part(const float *source, size_t count) {
    floats16 lanes = {0};
    memcpy(&lanes, source, LAMINA_MIN(count, (size_t)16) * sizeof *source);
    return lanes;
}

LAMINA_INLINE void floats16_store(float *target, floats16 lanes) {
    memcpy(target, &lanes, sizeof lanes);
}

LAMINA_INLINE floats16 floats16_of(float value) {
    return (floats16){0} + value;
}

// `yes` where the mask, all ones or all zeros in each lane, is set.
LAMINA_INLINE floats16 floats16_select(words16 mask, floats16 yes, floats16 no) {
    return (floats16)((mask & (words16)yes) | (~mask & (words16)no));
}

LAMINA_INLINE floats16 floats16_magnitude(floats16 lanes) {
    return (floats16)((words16)lanes & 0x7fffffff);
}

LAMINA_INLINE floats16 floats16_larger(floats16 a, floats16 b) {
    return floats16_select(a > b, a, b);
}

// Between `low` and `high`, which a NaN becomes `low`.
LAMINA_INLINE floats16 floats16_clamp(floats16 lanes, float low, float high) {
    lanes = floats16_select(lanes > low, lanes, floats16_of(low));
    return floats16_select(lanes < high, lanes, floats16_of(high));
}

// 1.5 * 2^23: a number of magnitude up to 2^22 added to it is rounded to nearest with ties to even, and is the sum's
// lowest bits.
#define LAMINA_ROUNDING 0x1.8p23f

LAMINA_INLINE floats16 floats16_round(floats16 lanes) {
    return (lanes + LAMINA_ROUNDING) - LAMINA_ROUNDING;
}

LAMINA_INLINE words16 words16_round(floats16 lanes) {
    return (words16)(lanes + LAMINA_ROUNDING) - (int32_t)0x4b400000;
}

#endif
