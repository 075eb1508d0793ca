// What the quantizers of all instruction sets share: nothing here takes time.
#ifndef LAMINA_QUANTIZE_INTERNAL_H
#define LAMINA_QUANTIZE_INTERNAL_H

#include "quantized_layout.h"

// The largest codes of ROW8, as they are and as escapes.
#define LARGEST_CODE 127.0f
#define LARGEST_ESCAPE 32767.0f

enum { DYNAMIC_LEVELS = 65536 };

// A ROW8 panel's steps and escapes, as they are stored, after steps were raised (lamina_quantize_source).
typedef struct lamina_row8_plan {
    uint16_t steps[LAMINA_QUANTIZED_ROWS];
    uint64_t escapes[LAMINA_ESCAPES];
} lamina_row8_plan;

// `largest`: the rows' largest magnitudes.
void lamina_plan_row8(const lamina_quantize_source *source, const float *largest, lamina_row8_plan *plan);

// bitsandbytes quantizes to its map by way of 65536 levels: level i is 2 i / 65535 - 1, and its code the number of
// middles between neighbouring values of the map that are less.
void lamina_fill_dynamic_codes(uint8_t codes[DYNAMIC_LEVELS]);

// Writes the scales of a panel of NF4, NF4_DOUBLE or INT8_DYNAMIC.
void lamina_store_flat_scales(lamina_scheme scheme, const lamina_quantize_source *source, uint8_t *panel);

#endif
