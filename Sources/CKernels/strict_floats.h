// First include of every file with floating point: a product and a sum are rounded apart unless fma is written out.
// Clang fuses them by default wherever the target has fused multiply-add (AVX2 functions, arm64), which would make
// results depend on the instruction set.
#ifndef LAMINA_STRICT_FLOATS_H
#define LAMINA_STRICT_FLOATS_H

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

#endif
