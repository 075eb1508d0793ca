// Element-wise kernels, from multiplications and additions only. Plain loops over 16 lanes: the compiler turns them
// into the vectors of the instruction set they are compiled for, and lanes never mix, so all results are the same.
#ifndef LAMINA_ELEMENTWISE_H
#define LAMINA_ELEMENTWISE_H

#include "exponential.h"

enum { LAMINA_LANES = 16 };

typedef struct lamina_lanes {
    float lane[LAMINA_LANES];
} lamina_lanes;

#define LAMINA_EACH_LANE for (size_t i = 0; i < LAMINA_LANES; ++i)

// Copying a block in before any of it is written lets input and output be the same array.
LAMINA_INLINE lamina_lanes lamina_lanes_load(const float *source, size_t count) {
    lamina_lanes lanes = {{0}};
    if (count >= LAMINA_LANES) {
        memcpy(&lanes, source, sizeof lanes);
    } else {
        memcpy(&lanes, source, count * sizeof *source);
    }
    return lanes;
}

LAMINA_INLINE void lamina_lanes_store(const lamina_lanes *lanes, float *target, size_t count) {
    if (count >= LAMINA_LANES) {
        memcpy(target, lanes, sizeof *lanes);
    } else {
        memcpy(target, lanes, count * sizeof *target);
    }
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

static void rms_norm(const float *x, const float *weight, float epsilon, float *out, size_t count) {
    lamina_lanes sums = {{0}};
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(x + start, count - start);
        LAMINA_EACH_LANE sums.lane[i] += block.lane[i] * block.lane[i];
    }
    const float mean = lamina_lanes_sum(sums) / (float)count;
    const float scale = 1.0f / sqrtf(mean + epsilon);
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(x + start, count - start);
        const lamina_lanes factor = lamina_lanes_load(weight + start, count - start);
        LAMINA_EACH_LANE block.lane[i] = block.lane[i] * scale * factor.lane[i];
        lamina_lanes_store(&block, out + start, count - start);
    }
}

static void add(const float *x, float *out, size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(x + start, count - start);
        lamina_lanes sum = lamina_lanes_load(out + start, count - start);
        LAMINA_EACH_LANE sum.lane[i] += block.lane[i];
        lamina_lanes_store(&sum, out + start, count - start);
    }
}

static void silu_multiply(float *gate, const float *up, size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(gate + start, count - start);
        const lamina_lanes factor = lamina_lanes_load(up + start, count - start);
        LAMINA_EACH_LANE {
            const float value = block.lane[i];
            block.lane[i] = value / (1.0f + lamina_exp_f32(-value)) * factor.lane[i];
        }
        lamina_lanes_store(&block, gate + start, count - start);
    }
}

static void rope_half(float *head, const float *cosine, const float *sine, size_t rotary) {
    const size_t half = rotary / 2;
    for (size_t start = 0; start < half; start += LAMINA_LANES) {
        const size_t count = half - start;
        lamina_lanes low = lamina_lanes_load(head + start, count);
        lamina_lanes high = lamina_lanes_load(head + half + start, count);
        const lamina_lanes c = lamina_lanes_load(cosine + start, count);
        const lamina_lanes s = lamina_lanes_load(sine + start, count);
        LAMINA_EACH_LANE {
            const float a = low.lane[i];
            const float b = high.lane[i];
            low.lane[i] = a * c.lane[i] - b * s.lane[i];
            high.lane[i] = b * c.lane[i] + a * s.lane[i];
        }
        lamina_lanes_store(&low, head + start, count);
        lamina_lanes_store(&high, head + half + start, count);
    }
}

// Scores to weights, in place; `count` is a multiple of 16 and a position outside the window scores -inf.
static void softmax(float *scores, size_t count) {
    lamina_lanes maximum;
    LAMINA_EACH_LANE maximum.lane[i] = -INFINITY;
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(scores + start, LAMINA_LANES);
        LAMINA_EACH_LANE maximum.lane[i] = block.lane[i] > maximum.lane[i] ? block.lane[i] : maximum.lane[i];
    }
    float largest = maximum.lane[0];
    LAMINA_EACH_LANE largest = maximum.lane[i] > largest ? maximum.lane[i] : largest;

    lamina_lanes sums = {{0}};
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(scores + start, LAMINA_LANES);
        LAMINA_EACH_LANE {
            block.lane[i] = lamina_exp_f32(block.lane[i] - largest);
            sums.lane[i] += block.lane[i];
        }
        lamina_lanes_store(&block, scores + start, LAMINA_LANES);
    }
    const float inverse = 1.0f / lamina_lanes_sum(sums);
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(scores + start, LAMINA_LANES);
        LAMINA_EACH_LANE block.lane[i] *= inverse;
        lamina_lanes_store(&block, scores + start, LAMINA_LANES);
    }
}

#endif
