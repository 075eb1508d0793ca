// The reference's norms, activations and element-wise kernels.
#include "strict_floats.h"

#include "reference.h"

float lamina_reference_sum_of_16(float *sums) {
    for (size_t i = 0; i < 8; ++i) sums[i] += sums[i + 8];
    for (size_t i = 0; i < 4; ++i) sums[i] += sums[i + 4];
    for (size_t i = 0; i < 2; ++i) sums[i] += sums[i + 2];
    return sums[0] + sums[1];
}

void lamina_reference_rms_norm(const float *x, const float *weight, float weight_offset, float epsilon, float *out,
                               size_t count) {
    float sums[16] = {0};
    for (size_t i = 0; i < count; ++i) {
        const float square = x[i] * x[i];
        sums[i % 16] += square;
    }
    const float scale = 1.0f / sqrtf(lamina_reference_sum_of_16(sums) / (float)count + epsilon);
    for (size_t i = 0; i < count; ++i) {
        out[i] = x[i] * scale;
        if (weight != NULL) {
            out[i] *= weight_offset == 0 ? weight[i] : weight_offset + weight[i];
        }
    }
}

void lamina_reference_layer_norm(const float *x, const float *weight, const float *bias, float epsilon, float *out,
                                 size_t count) {
    float sums[16] = {0};
    for (size_t i = 0; i < count; ++i) {
        sums[i % 16] += x[i];
    }
    const float mean = lamina_reference_sum_of_16(sums) / (float)count;
    float squares[16] = {0};
    for (size_t i = 0; i < count; ++i) {
        const float centred = x[i] - mean;
        const float square = centred * centred;
        squares[i % 16] += square;
    }
    const float scale = 1.0f / sqrtf(lamina_reference_sum_of_16(squares) / (float)count + epsilon);
    for (size_t i = 0; i < count; ++i) {
        float value = (x[i] - mean) * scale;
        value = weight != NULL ? value * weight[i] : value;
        out[i] = bias != NULL ? value + bias[i] : value;
    }
}

static float activation_of(lamina_activation activation, float x) {
    switch (activation) {
    case LAMINA_ACTIVATION_SILU: return x / (1.0f + lamina_expf(-x));
    case LAMINA_ACTIVATION_GELU_ERF: return 0.5f * x * (1.0f + lamina_erff(x * (float)0.70710678118654752));
    case LAMINA_ACTIVATION_GELU_TANH: {
        const float cubed = 0.044715f * x * x * x;
        return 0.5f * x * (1.0f + lamina_tanhf((float)0.79788456080286536 * (x + cubed)));
    }
    case LAMINA_ACTIVATION_GELU_FAST: {
        const float squared = 0.044715f * x * x;
        return 0.5f * x * (1.0f + lamina_tanhf(x * 0.7978845608f * (1.0f + squared)));
    }
    default: return x < 0 ? 0 : x;
    }
}

void lamina_reference_activate(lamina_activation activation, float *x, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        x[i] = activation_of(activation, x[i]);
    }
}

void lamina_reference_activate_multiply(lamina_activation activation, const float *gate, const float *up, float *out,
                                        size_t count) {
    for (size_t i = 0; i < count; ++i) {
        out[i] = activation_of(activation, gate[i]) * up[i];
    }
}

void lamina_reference_add(const float *x, float *out, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        out[i] += x[i];
    }
}

void lamina_reference_add_scaled(float factor, const float *x, float *y, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        y[i] = fmaf(factor, x[i], y[i]);
    }
}

void lamina_reference_scale(float *x, float factor, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        x[i] *= factor;
    }
}

void lamina_reference_softcap(float *x, float cap, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        x[i] = cap * lamina_tanhf(x[i] / cap);
    }
}

static void rotate(float *a, float *b, float cosine, float sine) {
    const float before = *a;
    *a = before * cosine - *b * sine;
    *b = *b * cosine + before * sine;
}

void lamina_reference_rope_half(float *head, const float *cosine, const float *sine, size_t rotary) {
    for (size_t i = 0; i < rotary / 2; ++i) {
        rotate(&head[i], &head[i + rotary / 2], cosine[i], sine[i]);
    }
}

void lamina_reference_rope_pairs(float *head, const float *cosine, const float *sine, size_t rotary) {
    for (size_t i = 0; i < rotary / 2; ++i) {
        rotate(&head[2 * i], &head[2 * i + 1], cosine[i], sine[i]);
    }
}
