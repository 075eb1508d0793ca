// Norms of a vector of any length, a whole hidden state or a single head.
#ifndef LAMINA_NORMS_H
#define LAMINA_NORMS_H

#include "lanes.h"

static void rms_norm(const float *x, const float *weight, float weight_offset, float epsilon, float *out,
                     size_t count) {
    lamina_lanes sums = {{0}};
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(x + start, count - start);
        LAMINA_EACH_LANE sums.lane[i] += block.lane[i] * block.lane[i];
    }
    const float mean = lamina_lanes_sum(sums) / (float)count;
    const float scale = 1.0f / sqrtf(mean + epsilon);
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(x + start, count - start);
        LAMINA_EACH_LANE block.lane[i] *= scale;
        if (weight != NULL) {
            lamina_lanes factor = lamina_lanes_load(weight + start, count - start);
            if (weight_offset != 0) {  // adding 0 would turn a weight of -0 into +0
                LAMINA_EACH_LANE factor.lane[i] += weight_offset;
            }
            LAMINA_EACH_LANE block.lane[i] *= factor.lane[i];
        }
        lamina_lanes_store(&block, out + start, count - start);
    }
}

// x - mean, and 0 in the lanes behind the end, which then add nothing to a sum of squares.
LAMINA_INLINE lamina_lanes centred_lanes(const float *x, size_t count, float mean) {
    lamina_lanes block = lamina_lanes_load(x, count);
    LAMINA_EACH_LANE block.lane[i] = i < count ? block.lane[i] - mean : 0.0f;
    return block;
}

static void layer_norm(const float *x, const float *weight, const float *bias, float epsilon, float *out,
                       size_t count) {
    lamina_lanes sums = {{0}};
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(x + start, count - start);
        LAMINA_EACH_LANE sums.lane[i] += block.lane[i];
    }
    const float mean = lamina_lanes_sum(sums) / (float)count;
    lamina_lanes squares = {{0}};
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = centred_lanes(x + start, count - start, mean);
        LAMINA_EACH_LANE squares.lane[i] += block.lane[i] * block.lane[i];
    }
    const float scale = 1.0f / sqrtf(lamina_lanes_sum(squares) / (float)count + epsilon);
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = centred_lanes(x + start, count - start, mean);
        LAMINA_EACH_LANE block.lane[i] *= scale;
        if (weight != NULL) {
            const lamina_lanes factor = lamina_lanes_load(weight + start, count - start);
            LAMINA_EACH_LANE block.lane[i] *= factor.lane[i];
        }
        if (bias != NULL) {
            const lamina_lanes term = lamina_lanes_load(bias + start, count - start);
            LAMINA_EACH_LANE block.lane[i] += term.lane[i];
        }
        lamina_lanes_store(&block, out + start, count - start);
    }
}

#endif
