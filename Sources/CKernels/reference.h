// The parts of the reference's table that other files hold.
#ifndef LAMINA_REFERENCE_H
#define LAMINA_REFERENCE_H

#include "internal.h"

// reference_tier.c
size_t lamina_reference_encode_tier(const uint16_t *weights, size_t count, void *segment);
bool lamina_reference_decode_tier(const void *segment, size_t size, uint16_t *weights, size_t count, void *scratch);
bool lamina_reference_multiply_tier_panel(const lamina_panel_task *task, size_t size, void *scratch);

// reference_codes.c
size_t lamina_reference_encode_codes(const uint8_t *codes, size_t count, void *segment);
bool lamina_reference_decode_codes(const void *segment, size_t size, uint8_t *codes, size_t count, void *scratch);

// reference_elementwise.c
float lamina_reference_sum_of_16(float *sums);
void lamina_reference_rms_norm(const float *x, const float *weight, float weight_offset, float epsilon, float *out,
                               size_t count);
void lamina_reference_layer_norm(const float *x, const float *weight, const float *bias, float epsilon, float *out,
                                 size_t count);
void lamina_reference_activate(lamina_activation activation, float *x, size_t count);
void lamina_reference_activate_multiply(lamina_activation activation, const float *gate, const float *up, float *out,
                                        size_t count);
void lamina_reference_add(const float *x, float *out, size_t count);
void lamina_reference_add_scaled(float factor, const float *x, float *y, size_t count);
void lamina_reference_scale(float *x, float factor, size_t count);
void lamina_reference_softcap(float *x, float cap, size_t count);
void lamina_reference_rope_half(float *head, const float *cosine, const float *sine, size_t rotary);
void lamina_reference_rope_pairs(float *head, const float *cosine, const float *sine, size_t rotary);

// reference_attention.c
void lamina_reference_store_key(lamina_kv_type type, void *block, size_t head_dim, size_t lane, const float *source);
void lamina_reference_store_value(lamina_kv_type type, void *block, size_t value_dim, size_t lane,
                                  const float *source);
void lamina_reference_attend(const lamina_attention_task *task);

// reference_quantized.c
void lamina_reference_quantize_activations(const float *x, size_t count, size_t padded, int8_t *codes, float *scales,
                                           int32_t *corrections);
void lamina_reference_multiply_quantized_row8(const lamina_quantized_task *task);
void lamina_reference_multiply_quantized_q8(const lamina_quantized_task *task);
void lamina_reference_multiply_quantized_q4(const lamina_quantized_task *task);
#define LAMINA_REFERENCE_DEQUANTIZE(name)                                                                    \
    void lamina_reference_dequantize_panel_##name(const lamina_quantized_panel *panel, size_t k_begin,       \
                                                  size_t k_count, float *out, size_t out_stride)
LAMINA_REFERENCE_DEQUANTIZE(row8);
LAMINA_REFERENCE_DEQUANTIZE(q8);
LAMINA_REFERENCE_DEQUANTIZE(q4);
LAMINA_REFERENCE_DEQUANTIZE(nf4);
LAMINA_REFERENCE_DEQUANTIZE(nf4_double);
LAMINA_REFERENCE_DEQUANTIZE(int8_dynamic);
#define LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(name)                                                                 \
    bool lamina_reference_multiply_dequantized_##name(const lamina_quantized_panel *panels, size_t panel_count, \
                                                      const float *x, float *y)
LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(row8);
LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(q8);
LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(q4);
LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(nf4);
LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(nf4_double);
LAMINA_REFERENCE_MULTIPLY_DEQUANTIZED(int8_dynamic);

// reference_narrow.c
size_t lamina_reference_narrow_panel(const void *row8, size_t columns, void *narrow);
void lamina_reference_restore_panel(const void *narrow, size_t columns, void *row8);
void lamina_reference_multiply_narrow(const lamina_quantized_task *task);

// reference_quantize.c, and reference_search.c for Q8 and Q4
void lamina_reference_row_statistics(const float *row, size_t count, lamina_row_statistics *statistics);
void lamina_reference_flat_maxima(const float *values, size_t count, size_t position, size_t block, float *maxima);
void lamina_reference_add_panel_errors(const lamina_quantize_source *source, size_t k_begin, size_t k_count,
                                       const float *decoded, lamina_panel_errors *sums);
void lamina_reference_quantize_panel_row8(const lamina_quantize_source *source, void *panel);
void lamina_reference_quantize_panel_q8(const lamina_quantize_source *source, void *panel);
void lamina_reference_quantize_panel_q4(const lamina_quantize_source *source, void *panel);
void lamina_reference_quantize_panel_nf4(const lamina_quantize_source *source, void *panel);
void lamina_reference_quantize_panel_nf4_double(const lamina_quantize_source *source, void *panel);
void lamina_reference_quantize_panel_int8_dynamic(const lamina_quantize_source *source, void *panel);

#endif
