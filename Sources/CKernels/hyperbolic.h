// f32 tanh, erf and the logistic function, from exp and polynomials: the same bits in every lane of every instruction
// set. Both sides of every choice are computed, so that lanes need no branches. The polynomials are minimax fits for
// this file.
#ifndef LAMINA_HYPERBOLIC_H
#define LAMINA_HYPERBOLIC_H

#include "exponential.h"

// `magnitude` is not negative, or NaN.
LAMINA_INLINE float lamina_with_sign_of(float magnitude, float signed_value) {
    const uint32_t sign = lamina_float_bits(signed_value) & 0x80000000u;
    return lamina_float_from_bits(lamina_float_bits(magnitude) | sign);
}

LAMINA_INLINE float lamina_magnitude(float x) {
    return lamina_float_from_bits(lamina_float_bits(x) & 0x7fffffffu);
}

LAMINA_INLINE float lamina_tanh_f32(float x) {
    const float magnitude = lamina_magnitude(x);
    // tanh(x) = x + x^3 p(x^2), within 5e-9 of itself below 0.625; beyond it 1 - 2 / (e^2x + 1) cancels at most a bit.
    const float z = magnitude * magnitude;
    float p = -0x1.76ac1ap-8f;
    p = p * z + 0x1.5256d8p-6f;
    p = p * z - 0x1.b84448p-5f;
    p = p * z + 0x1.110768p-3f;
    p = p * z - 0x1.555534p-2f;
    const float near_zero = magnitude + magnitude * (z * p);
    const float far = 1.0f - 2.0f / (lamina_exp_f32(2.0f * magnitude) + 1.0f);
    return lamina_with_sign_of(magnitude < 0.625f ? near_zero : far, x);
}

LAMINA_INLINE float lamina_erf_f32(float x) {
    const float magnitude = lamina_magnitude(x);
    // erf(x) = x + x p(x^2), within 1e-8 of itself below 0.875.
    const float z = magnitude * magnitude;
    float p = -0x1.463bf2p-11f;
    p = p * z + 0x1.4a07eap-8f;
    p = p * z - 0x1.b6fdfep-6f;
    p = p * z + 0x1.ce21d8p-4f;
    p = p * z - 0x1.812710p-2f;
    p = p * z + 0x1.06eba6p-3f;
    const float near_zero = magnitude + magnitude * p;
    // -log(1 - erf(x)), whose error counts less the smaller 1 - erf(x) is; from 3.92 on erf(x) rounds to 1.
    const float c = magnitude > 4.0f ? 4.0f : magnitude;
    float q = -0x1.a5850cp-13f;
    q = q * c + 0x1.95501ep-9f;
    q = q * c - 0x1.6f5536p-6f;
    q = q * c + 0x1.ab5352p-4f;
    q = q * c + 0x1.46026cp-1f;
    q = q * c + 0x1.20c06cp0f;
    q = q * c + 0x1.182068p-13f;
    const float far = 1.0f - lamina_exp_f32(-q);
    return lamina_with_sign_of(magnitude < 0.875f ? near_zero : far, x);
}

LAMINA_INLINE float lamina_sigmoid_f32(float x) {
    return 1.0f / (1.0f + lamina_exp_f32(-x));
}

#endif
