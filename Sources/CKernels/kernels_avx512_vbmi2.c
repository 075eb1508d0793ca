// AVX-512 F, BW, VL, DQ with VBMI and VBMI2, whose bytes can be permuted, expanded and compressed, and with VNNI, which
// sums products of bytes.
#include "strict_floats.h"

#include "internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512vnni,avx2,fma,f16c,popcnt"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512vnni,avx2,fma,f16c,popcnt")
#endif

#include "vectors_avx512.h"

#include "quantized_avx512_vnni.h"
#include "tier_avx512_vbmi2.h"

#define KERNEL_TABLE lamina_kernels_avx512_vbmi2
#define KERNEL_ISA LAMINA_ISA_AVX512_VBMI2
#include "kernel_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
