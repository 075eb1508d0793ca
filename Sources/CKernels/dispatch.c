// Which instruction set this machine runs, and its table.
#include "internal.h"

#include <stdlib.h>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const isa_names[] = {
    [LAMINA_ISA_PORTABLE] = "portable",
    [LAMINA_ISA_NEON] = "neon",
    [LAMINA_ISA_AVX2] = "avx2",
    [LAMINA_ISA_AVX512] = "avx512",
    [LAMINA_ISA_AVX512_VBMI2] = "avx512vbmi2",
};

enum { ISA_COUNT = sizeof isa_names / sizeof *isa_names };

#if defined(__x86_64__)
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
           __builtin_cpu_supports("popcnt");
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512_vbmi2(void) {
    return has_avx512() && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

#if defined(__aarch64__)
static bool has_dotprod(void) {
#if defined(__ARM_FEATURE_DOTPROD)
    return true;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return false;
#endif
}
#endif

// NULL if this machine cannot run it.
static const lamina_kernels *available_table(lamina_isa isa) {
    switch (isa) {
    case LAMINA_ISA_PORTABLE: return &lamina_kernels_portable;
#if defined(__x86_64__)
    case LAMINA_ISA_AVX2: return has_avx2() ? &lamina_kernels_avx2 : NULL;
    case LAMINA_ISA_AVX512: return has_avx512() ? &lamina_kernels_avx512 : NULL;
    case LAMINA_ISA_AVX512_VBMI2: return has_avx512_vbmi2() ? &lamina_kernels_avx512_vbmi2 : NULL;
#elif defined(__aarch64__)
    case LAMINA_ISA_NEON: return has_dotprod() ? &lamina_kernels_neon_dotprod : &lamina_kernels_neon;
#endif
    default: return NULL;
    }
}

bool lamina_isa_is_available(lamina_isa isa) {
    return available_table(isa) != NULL;
}

const char *lamina_isa_name(lamina_isa isa) {
    return (size_t)isa < ISA_COUNT ? isa_names[isa] : "unknown";
}

bool lamina_isa_choose(lamina_isa *isa) {
    *isa = LAMINA_ISA_PORTABLE;
    for (size_t candidate = 0; candidate < ISA_COUNT; ++candidate) {
        if (lamina_isa_is_available((lamina_isa)candidate)) {
            *isa = (lamina_isa)candidate;
        }
    }
    const char *wanted = getenv("LAMINA_ISA");
    if (wanted == NULL || *wanted == '\0') {
        return true;
    }
    for (size_t candidate = 0; candidate < ISA_COUNT; ++candidate) {
        if (strcmp(wanted, isa_names[candidate]) == 0 && lamina_isa_is_available((lamina_isa)candidate)) {
            *isa = (lamina_isa)candidate;
            return true;
        }
    }
    return false;
}

const lamina_kernels *lamina_kernels_for(lamina_isa isa) {
    const lamina_kernels *table = available_table(isa);
    return table != NULL ? table : &lamina_kernels_portable;
}
