// arm64, where NEON with fused multiply-add and f16 conversion is always there.
#include "strict_floats.h"

#include "internal.h"

#if defined(__aarch64__)

#include "vectors_neon.h"

#include "quantized_neon_base.h"
#include "tier_neon.h"

#define KERNEL_TABLE lamina_kernels_neon
#define KERNEL_ISA LAMINA_ISA_NEON
#include "kernel_table.h"

#endif
