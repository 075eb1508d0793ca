// Last include of an instruction set's file: all kernels compiled for it, and their table.
// Needs the definitions listed in panel_product.h, panel_layout.h, tier_decode.h and tier_encode.h, and
//   KERNEL_TABLE, KERNEL_ISA        name of the table and its lamina_isa
#ifndef LAMINA_KERNEL_TABLE_H
#define LAMINA_KERNEL_TABLE_H

#include "attention.h"
#include "elementwise.h"
#include "panel_layout.h"
#include "panel_product.h"
#include "planes.h"
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
    .pack_panel = {pack_panel_bf16, pack_panel_f16, pack_panel_f32},
    .unpack_panel = {unpack_panel_bf16, unpack_panel_f16, unpack_panel_f32},
    .encode_tier = encode_tier,
    .decode_tier = decode_tier,
    .multiply_tier_panel = multiply_tier_panel,
    .widen = {widen_bf16, widen_f16, widen_f32},
    .rms_norm = rms_norm,
    .add = add,
    .silu_multiply = silu_multiply,
    .rope_half = rope_half,
    .attend = attend,
};

#endif
