// AVX-512 F, BW, VL, DQ.
#include "strict_floats.h"

#include "internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,popcnt")
#endif

#include "vectors_avx512.h"

#include "quantized_avx512_maddubs.h"
#include "tier_avx2.h"

#define KERNEL_TABLE lamina_kernels_avx512
#define KERNEL_ISA LAMINA_ISA_AVX512
#include "kernel_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
