// Last include of an instruction set's file: all kernels compiled for it, and their table.
// Needs the definitions listed in panel_product.h, panel_layout.h, kv_layout.h, attention.h, tier_levels.h,
// tier_decode.h, tier_encode.h, codes_decode.h, codes_encode.h, quantized_product.h and quantized_dequantize.h, and
//   KERNEL_TABLE, KERNEL_ISA        name of the table and its lamina_isa
#ifndef LAMINA_KERNEL_TABLE_H
#define LAMINA_KERNEL_TABLE_H

#include "activations.h"
#include "attention.h"
#include "codes_decode.h"
#include "codes_encode.h"
#include "elementwise.h"
#include "float8.h"
#include "kv_store.h"
#include "narrow_panel.h"
#include "norms.h"
#include "panel_layout.h"
#include "panel_product.h"
#include "panel_rows.h"
#include "planes.h"
#include "quantize_blocks.h"
#include "quantize_panels.h"
#include "quantized_activations.h"
#include "quantized_dequantize.h"
#include "quantized_product.h"
#include "narrow_product.h"
#include "quantized_single.h"
#include "tier_encode.h"
#include "tier_product.h"

const lamina_kernels KERNEL_TABLE = {
    .isa = KERNEL_ISA,
    .multiply_panel = {multiply_panel_bf16, multiply_panel_f16, multiply_panel_f32},
    .split_bf16 = split_bf16,
    .merge_bf16 = merge_bf16,
    .split_f16 = split_f16,
    .merge_f16 = merge_f16,
    .split_f32 = split_f32,
    .merge_f32 = merge_f32,
    .pack_panel = {pack_panel_bf16, pack_panel_f16, pack_panel_f32, pack_panel_f8, pack_panel_f8},
    .unpack_panel = {unpack_panel_bf16, unpack_panel_f16, unpack_panel_f32, unpack_panel_f8, unpack_panel_f8},
    .panel_rows = panel_rows,
    .encode_tier = encode_tier,
    .decode_tier = decode_tier,
    .multiply_tier_panel = multiply_tier_panel,
    .widen = {widen_bf16, widen_f16, widen_f32},
    .widen_f8 = widen_f8,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .activate = activate,
    .activate_multiply = activate_multiply,
    .add = add,
    .add_scaled = add_scaled,
    .scale = scale,
    .softcap = softcap,
    .rope_half = rope_half,
    .rope_pairs = rope_pairs,
    .store_key = store_key,
    .store_value = store_value,
    .attend = attend,
    .quantize_activations = quantize_activations,
    .multiply_quantized = {multiply_quantized_row8, multiply_quantized_q8, multiply_quantized_q4},
    .dequantize_panel = {dequantize_panel_row8, dequantize_panel_q8, dequantize_panel_q4, dequantize_panel_nf4,
                         dequantize_panel_nf4_double, dequantize_panel_int8_dynamic},
    .multiply_dequantized = {multiply_dequantized_row8, multiply_dequantized_q8, multiply_dequantized_q4,
                             multiply_dequantized_nf4, multiply_dequantized_nf4_double,
                             multiply_dequantized_int8_dynamic},
    .narrow_panel = narrow_panel_from,
    .restore_panel = restore_panel,
    .multiply_narrow = multiply_narrow,
    .row_statistics = row_statistics,
    .flat_maxima = flat_maxima,
    .quantize_panel = {quantize_panel_row8, quantize_panel_q8, quantize_panel_q4, quantize_panel_nf4,
                       quantize_panel_nf4_double, quantize_panel_int8_dynamic},
    .add_panel_errors = add_panel_errors,
    .encode_codes = encode_codes,
    .decode_codes = decode_codes,
};

#endif
