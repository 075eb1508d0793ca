// Plain loops over 16 lanes: the compiler turns them into the vectors of the instruction set they are compiled for, and
// lanes never mix, so all results are the same.
#ifndef LAMINA_LANES_H
#define LAMINA_LANES_H

#include "internal.h"

enum { LAMINA_LANES = 16 };

typedef struct lamina_lanes {
    float lane[LAMINA_LANES];
} lamina_lanes;

#define LAMINA_EACH_LANE for (size_t i = 0; i < LAMINA_LANES; ++i)

// Copying a block in before any of it is written lets input and output be the same array. A part of a block is padded
// with zeros elsewhere, so that whole blocks go straight from memory to registers and back.
LAMINA_INLINE lamina_lanes lamina_lanes_load(const float *source, size_t count) {
    float padded[LAMINA_LANES];
    if (count < LAMINA_LANES) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, source, count * sizeof *source);
        source = padded;
    }
    lamina_lanes lanes;
    memcpy(&lanes, source, sizeof lanes);
    return lanes;
}

LAMINA_INLINE void lamina_lanes_store(const lamina_lanes *lanes, float *target, size_t count) {
    if (count < LAMINA_LANES) {
        const lamina_lanes part = *lanes;
        memcpy(target, &part, count * sizeof *target);
        return;
    }
    memcpy(target, lanes, sizeof *lanes);
}

// The fixed order of every sum over elements: halves added 8, 4, 2, 1.
LAMINA_INLINE float lamina_lanes_sum(lamina_lanes lanes) {
    for (size_t half = LAMINA_LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; ++i) {
            lanes.lane[i] += lanes.lane[i + half];
        }
    }
    return lanes.lane[0];
}

#endif
