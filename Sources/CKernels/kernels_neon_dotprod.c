// arm64 with dot products of bytes (ARMv8.2's optional ones): the same kernels but for int8 activations.
#include "strict_floats.h"

#include "internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif

#include "vectors_neon.h"

#include "quantized_neon_dotprod.h"
#include "tier_neon.h"

#define KERNEL_TABLE lamina_kernels_neon_dotprod
#define KERNEL_ISA LAMINA_ISA_NEON
#include "kernel_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
