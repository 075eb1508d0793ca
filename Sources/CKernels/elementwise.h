// Sums, products and rotations of vectors.
#ifndef LAMINA_ELEMENTWISE_H
#define LAMINA_ELEMENTWISE_H

#include "hyperbolic.h"
#include "lanes.h"

static void add(const float *x, float *out, size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(x + start, count - start);
        lamina_lanes sum = lamina_lanes_load(out + start, count - start);
        LAMINA_EACH_LANE sum.lane[i] += block.lane[i];
        lamina_lanes_store(&sum, out + start, count - start);
    }
}

static void add_scaled(float factor, const float *x, float *y, size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        const lamina_lanes block = lamina_lanes_load(x + start, count - start);
        lamina_lanes sum = lamina_lanes_load(y + start, count - start);
        LAMINA_EACH_LANE sum.lane[i] = fmaf(factor, block.lane[i], sum.lane[i]);
        lamina_lanes_store(&sum, y + start, count - start);
    }
}

static void scale(float *x, float factor, size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(x + start, count - start);
        LAMINA_EACH_LANE block.lane[i] *= factor;
        lamina_lanes_store(&block, x + start, count - start);
    }
}

static void softcap(float *x, float cap, size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(x + start, count - start);
        LAMINA_EACH_LANE block.lane[i] = cap * lamina_tanh_f32(block.lane[i] / cap);
        lamina_lanes_store(&block, x + start, count - start);
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

LAMINA_INLINE void rotate_pairs(float *pairs, const float *cosine, const float *sine, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const float a = pairs[2 * i];
        const float b = pairs[2 * i + 1];
        pairs[2 * i] = a * cosine[i] - b * sine[i];
        pairs[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
}

static void rope_pairs(float *head, const float *restrict cosine, const float *restrict sine, size_t rotary) {
    const size_t pairs = rotary / 2;
    size_t start = 0;
    for (; start + LAMINA_LANES <= pairs; start += LAMINA_LANES) {
        rotate_pairs(head + 2 * start, cosine + start, sine + start, LAMINA_LANES);
    }
    rotate_pairs(head + 2 * start, cosine + start, sine + start, pairs - start);
}

#endif
