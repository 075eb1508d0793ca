// Norms, activations and element-wise kernels against the reference.
#include "check.h"

enum { LARGEST = 1040 };

static float a[LARGEST];
static float b[LARGEST];
static float d[LARGEST];
static float found[LARGEST];
static float expected[LARGEST];

// Both results begin as the same numbers, up to `magnitude`.
static void begin(check *c, size_t count, float magnitude) {
    fill(c, found, count);
    for (size_t i = 0; i < count; ++i) {
        found[i] *= magnitude;
        expected[i] = found[i];
    }
}

static void check_norms(check *c, size_t count) {
    const size_t size = count * sizeof(float);
    for (int offset = 0; offset < 2; ++offset) {
        c->kernels->rms_norm(a, b, (float)offset, 1e-5f, found, count);
        c->reference->rms_norm(a, b, (float)offset, 1e-5f, expected, count);
        expect_same(c, "rms_norm", found, expected, size);
    }
    c->kernels->rms_norm(a, NULL, 0, 1e-5f, found, count);
    c->reference->rms_norm(a, NULL, 0, 1e-5f, expected, count);
    expect_same(c, "rms_norm without weight", found, expected, size);
    for (int parts = 0; parts < 4; ++parts) {
        const float *weight = parts & 1 ? b : NULL;
        const float *bias = parts & 2 ? d : NULL;
        c->kernels->layer_norm(a, weight, bias, 1e-5f, found, count);
        c->reference->layer_norm(a, weight, bias, 1e-5f, expected, count);
        expect_same(c, "layer_norm", found, expected, size);
    }
}

static void check_activations(check *c, size_t count) {
    const size_t size = count * sizeof(float);
    for (int kind = LAMINA_ACTIVATION_SILU; kind <= LAMINA_ACTIVATION_RELU; ++kind) {
        for (float magnitude = 1; magnitude <= 100; magnitude *= 10) {
            begin(c, count, magnitude);
            c->kernels->activate((lamina_activation)kind, found, count);
            c->reference->activate((lamina_activation)kind, expected, count);
            expect_same(c, "activate", found, expected, size);
            begin(c, count, magnitude);
            c->kernels->activate_multiply((lamina_activation)kind, found, b, found, count);
            c->reference->activate_multiply((lamina_activation)kind, expected, b, expected, count);
            expect_same(c, "activate_multiply", found, expected, size);
        }
    }
}

static void check_arithmetic(check *c, size_t count) {
    const size_t size = count * sizeof(float);
    begin(c, count, 1);
    c->kernels->add(a, found, count);
    c->reference->add(a, expected, count);
    expect_same(c, "add", found, expected, size);
    begin(c, count, 1);
    c->kernels->add_scaled(-1.3f, a, found, count);
    c->reference->add_scaled(-1.3f, a, expected, count);
    expect_same(c, "add_scaled", found, expected, size);
    begin(c, count, 1);
    c->kernels->scale(found, 0.3f, count);
    c->reference->scale(expected, 0.3f, count);
    expect_same(c, "scale", found, expected, size);
    begin(c, count, 100);
    c->kernels->softcap(found, 30, count);
    c->reference->softcap(expected, 30, count);
    expect_same(c, "softcap", found, expected, size);
    begin(c, count, 1);
    c->kernels->rope_half(found, b, b + count / 2, count);
    c->reference->rope_half(expected, b, b + count / 2, count);
    expect_same(c, "rope_half", found, expected, size);
    begin(c, count, 1);
    c->kernels->rope_pairs(found, b, b + count / 2, count);
    c->reference->rope_pairs(expected, b, b + count / 2, count);
    expect_same(c, "rope_pairs", found, expected, size);
}

void check_elementwise(check *c) {
    static const size_t counts[] = {1, 2, 15, 16, 17, 30, 64, 130, 1040};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
        fill(c, a, counts[i]);
        fill(c, b, counts[i]);
        fill(c, d, counts[i]);
        check_norms(c, counts[i]);
        check_activations(c, counts[i]);
        check_arithmetic(c, counts[i]);
    }
}
