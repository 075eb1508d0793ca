// Activations, alone and as the gate of a product.
#ifndef LAMINA_ACTIVATIONS_H
#define LAMINA_ACTIVATIONS_H

#include "hyperbolic.h"
#include "lanes.h"

// `activation` is a constant wherever speed matters.
LAMINA_INLINE float activation_value(lamina_activation activation, float x) {
    switch (activation) {
    case LAMINA_ACTIVATION_SILU: return x / (1.0f + lamina_exp_f32(-x));
    case LAMINA_ACTIVATION_GELU_ERF: return 0.5f * x * (1.0f + lamina_erf_f32(x * 0x1.6a09e6p-1f));  // sqrt(1/2)
    case LAMINA_ACTIVATION_GELU_TANH:
        // 0x1.988454p-1 is sqrt(2/pi)
        return 0.5f * x * (1.0f + lamina_tanh_f32(0x1.988454p-1f * (x + 0.044715f * x * x * x)));
    case LAMINA_ACTIVATION_GELU_FAST:
        return 0.5f * x * (1.0f + lamina_tanh_f32(x * 0.7978845608f * (1.0f + 0.044715f * x * x)));
    default: return x < 0.0f ? 0.0f : x;
    }
}

// `up` may be NULL: no product.
LAMINA_INLINE void activate_elements(lamina_activation activation, const float *gate, const float *up, float *out,
                                     size_t count) {
    for (size_t start = 0; start < count; start += LAMINA_LANES) {
        lamina_lanes block = lamina_lanes_load(gate + start, count - start);
        LAMINA_EACH_LANE block.lane[i] = activation_value(activation, block.lane[i]);
        if (up != NULL) {
            const lamina_lanes factor = lamina_lanes_load(up + start, count - start);
            LAMINA_EACH_LANE block.lane[i] *= factor.lane[i];
        }
        lamina_lanes_store(&block, out + start, count - start);
    }
}

static void activate_multiply(lamina_activation activation, const float *gate, const float *up, float *out,
                              size_t count) {
    switch (activation) {
    case LAMINA_ACTIVATION_SILU: return activate_elements(LAMINA_ACTIVATION_SILU, gate, up, out, count);
    case LAMINA_ACTIVATION_GELU_ERF: return activate_elements(LAMINA_ACTIVATION_GELU_ERF, gate, up, out, count);
    case LAMINA_ACTIVATION_GELU_TANH: return activate_elements(LAMINA_ACTIVATION_GELU_TANH, gate, up, out, count);
    case LAMINA_ACTIVATION_GELU_FAST: return activate_elements(LAMINA_ACTIVATION_GELU_FAST, gate, up, out, count);
    case LAMINA_ACTIVATION_RELU: return activate_elements(LAMINA_ACTIVATION_RELU, gate, up, out, count);
    }
}

static void activate(lamina_activation activation, float *x, size_t count) {
    activate_multiply(activation, x, NULL, x, count);
}

#endif
