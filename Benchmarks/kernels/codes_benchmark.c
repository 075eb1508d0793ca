// Speed and size of the ecq-tier kernels on codes of normally distributed weights, for several steps (in standard
// deviations) and each instruction set, on one thread. Prints a Markdown table: bits per weight of the segments beside
// the entropy of the codes and what literal-only zstd makes of them; the split (raw bits + widths of the tiers, in
// parentheses the single symbols); and G weights/s, the median of the rounds and the best.
// Usage: codes_benchmark [rounds]
#define _GNU_SOURCE
#include "benchmark.h"
#include "lamina_kernels.h"

#include <math.h>
// The parameter that has zstd code literals without matches is not in its stable interface.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

enum {
    SEGMENT = 65536,
    SEGMENTS = 1024,  // 64 MiB of codes: more than the caches hold, also when coded
    SMALL_TIMES = 256,
    MAXIMUM_ROUNDS = 101,
    MAXIMUM_ISAS = 4,
};

typedef struct bench {
    const lamina_kernels *kernels;
    uint8_t *codes;    // [SEGMENTS][SEGMENT]
    uint8_t *coded;    // [SEGMENTS][room]
    size_t room;
    size_t sizes[SEGMENTS];
    uint8_t *target;   // [SEGMENT]
    uint8_t *scratch;
    size_t rounds;
} bench;

// ---- data ---------------------------------------------------------------------------------------------------------

static double uniform(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return ((double)((z ^ z >> 31) >> 11) + 0.5) * 0x1p-53;
}

static uint8_t normal_code(double step, uint64_t *state) {
    const double weight = sqrt(-2 * log(uniform(state))) * cos(6.283185307179586 * uniform(state));
    const long code = lrint(weight / step);
    return (uint8_t)((code < -127 ? -127 : code > 127 ? 127 : code) + 128);
}

// A sample of weights, from another place on for every segment.
static void fill_codes(bench *b, double step) {
    uint64_t state = 1;
    static uint8_t sample[16 * SEGMENT];
    for (size_t i = 0; i < sizeof sample; ++i) {
        sample[i] = normal_code(step, &state);
    }
    for (size_t segment = 0; segment < SEGMENTS; ++segment) {
        const size_t start = (size_t)(uniform(&state) * (sizeof sample - SEGMENT));
        memcpy(b->codes + segment * SEGMENT, sample + start, SEGMENT);
    }
}

static double entropy(const bench *b) {
    size_t frequencies[256] = {0};
    const size_t count = (size_t)SEGMENTS * SEGMENT;
    for (size_t i = 0; i < count; ++i) {
        frequencies[b->codes[i]] += 1;
    }
    double bits = 0;
    for (size_t code = 0; code < 256; ++code) {
        const double share = (double)frequencies[code] / (double)count;
        bits -= share > 0 ? share * log2(share) : 0;
    }
    return bits;
}

static double zstd_bits(const bench *b) {
    ZSTD_CCtx *context = ZSTD_createCCtx();
    const struct {
        ZSTD_cParameter name;
        int value;
    } parameters[] = {
        {ZSTD_c_strategy, ZSTD_fast},  {ZSTD_c_minMatch, 7},
        {ZSTD_c_targetLength, 131072}, {ZSTD_c_hashLog, 6},
        {ZSTD_c_literalCompressionMode, ZSTD_ps_enable},
    };
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; ++i) {
        ZSTD_CCtx_setParameter(context, parameters[i].name, parameters[i].value);
    }
    const size_t source = 16 * SEGMENT;
    const size_t room = ZSTD_compressBound(source);
    uint8_t *target = allocate(room);
    const size_t size = ZSTD_compress2(context, target, room, b->codes, source);
    ZSTD_freeCCtx(context);
    free(target);
    return ZSTD_isError(size) ? NAN : (double)size * 8 / (double)source;
}

// ---- what is measured -------------------------------------------------------------------------------------------

static void encode_small(bench *b) {
    for (size_t i = 0; i < SMALL_TIMES; ++i) {
        b->sizes[0] = b->kernels->encode_codes(b->codes, SEGMENT, b->coded);
    }
}

static void decode(bench *b, size_t segment) {
    if (!b->kernels->decode_codes(b->coded + segment * b->room, b->sizes[segment], b->target, SEGMENT, b->scratch)) {
        abort();
    }
}

static void decode_small(bench *b) {
    for (size_t i = 0; i < SMALL_TIMES; ++i) {
        decode(b, 0);
    }
}

static void decode_all(bench *b) {
    for (size_t i = 0; i < SEGMENTS; ++i) {
        decode(b, i);
    }
}

// G weights/s, the median of the rounds, and the best.
static void print_rate(bench *b, void (*work)(bench *b), size_t segments) {
    double rates[MAXIMUM_ROUNDS];
    for (size_t round = 0; round < b->rounds; ++round) {
        const double start = now();
        work(b);
        rates[round] = (double)(segments * SEGMENT) / (now() - start) / 1e9;
    }
    const double middle = median(rates, b->rounds);
    printf(" %.2f (%.2f) |", middle, rates[b->rounds - 1]);
}

static void print_row(bench *b, double step, lamina_isa isa) {
    b->kernels = lamina_kernels_for(isa);
    double bytes = 0;
    for (size_t i = 0; i < SEGMENTS; ++i) {
        b->sizes[i] = b->kernels->encode_codes(b->codes + i * SEGMENT, SEGMENT, b->coded + i * b->room);
        bytes += (double)b->sizes[i];
    }
    const uint8_t *split = b->coded + 28;
    const double bits = bytes * 8 / ((double)SEGMENTS * SEGMENT);
    const double least = entropy(b);
    printf("| %.3f | %.3f | %.3f | %.3f (%+.1f %%) | %u + %u (%u)/%u/%u/%u/%u | %s |", step, least, zstd_bits(b), bits,
           (bits / least - 1) * 100, split[0], split[2], split[1], split[3], split[4], split[5], split[6], lamina_isa_name(isa));
    print_rate(b, encode_small, SMALL_TIMES);
    print_rate(b, decode_small, SMALL_TIMES);
    print_rate(b, decode_all, SEGMENTS);
    printf("\n");
    fflush(stdout);
}

int main(int argument_count, char **arguments) {
    static bench b;
    static const double steps[] = {0.07, 0.19, 0.23, 0.32, 0.5, 0.75};
    b.rounds = argument_count > 1 ? (size_t)atoi(arguments[1]) : 9;
    if (b.rounds == 0 || b.rounds > MAXIMUM_ROUNDS) {
        fprintf(stderr, "usage: codes_benchmark [rounds, 1 to %d]\n", MAXIMUM_ROUNDS);
        return 1;
    }
    b.room = lamina_codes_bound(SEGMENT);
    b.codes = allocate((size_t)SEGMENTS * SEGMENT);
    b.coded = allocate(SEGMENTS * b.room);
    b.target = allocate(SEGMENT);
    b.scratch = allocate(LAMINA_CODES_SCRATCH);
    lamina_isa isas[MAXIMUM_ISAS];
    if (!lamina_isa_choose(&isas[0])) {
        fprintf(stderr, "error: LAMINA_ISA names no instruction set of this machine\n");
        return 1;
    }
    size_t isa_count = 1;
    for (lamina_isa isa = LAMINA_ISA_AVX512_VBMI2; isa-- > LAMINA_ISA_PORTABLE;) {
        // Whatever runs AVX-512 is taken to have AVX2.
        if (isa < isas[0] && isa != LAMINA_ISA_AVX512 && lamina_isa_is_available(isa)) {
            isas[isa_count++] = isa;
        }
    }
    printf("| step | entropy | zstd | bits/weight | raw + tiers | | encode | decode, caches | decode, from memory |\n");
    printf("|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; ++i) {
        fill_codes(&b, steps[i]);
        for (size_t isa = 0; isa < isa_count; ++isa) {
            print_row(&b, steps[i], isas[isa]);
        }
    }
    return 0;
}
