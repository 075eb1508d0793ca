// Every instruction set of this machine against the reference, bit for bit, over a fixed sweep; prints a digest of the
// results so that machines can be compared. scripts/test-aarch64 runs it under emulation and natively.
#include "check.h"

// ---- elementary functions: no reference here, they only go into the digest --------------------------------------

static void digest_elementary(check *c) {
    for (size_t i = 0; i < 20000; ++i) {
        const double x = ((double)(next_random(c) >> 11) * 0x1p-53 - 0.5) * (i % 2 == 0 ? 200 : 4e9);
        const double results[] = {
            lamina_sin(x), lamina_cos(x), lamina_log(fabs(x)), lamina_exp(x / 2e7),
            lamina_pow(fabs(x), -(double)(i % 64) / 64),
        };
        const float y = (float)(i % 2 == 0 ? x : x / 2e7);
        const float single[] = {lamina_expf(y), lamina_tanhf(y / 8), lamina_erff(y / 16), lamina_sigmoidf(y)};
        add_to_digest(c, results, sizeof results);
        add_to_digest(c, single, sizeof single);
    }
}

static void check_table(check *c) {
    c->state = 0x6c616d696e61;
    check_panels(c);
    check_codes(c);
    check_elementwise(c);
    check_attention(c);
    check_quantized(c);
    check_quantize(c);
}

int main(void) {
    check c = {.reference = lamina_kernels_reference(), .digest = 0xcbf29ce484222325};
    lamina_isa chosen;
    if (!lamina_isa_choose(&chosen)) {
        printf("failed: LAMINA_ISA names no instruction set of this machine\n");
        c.failed += 1;
    }
    for (int isa = LAMINA_ISA_PORTABLE; isa <= LAMINA_ISA_AVX512_VBMI2; ++isa) {
        if (!lamina_isa_is_available((lamina_isa)isa)) {
            continue;
        }
        c.kernels = lamina_kernels_for((lamina_isa)isa);
        c.digesting = c.kernels->isa == chosen;
        const size_t before = c.passed + c.failed;
        check_table(&c);
        printf("%s: %zu checks\n", lamina_isa_name((lamina_isa)isa), c.passed + c.failed - before);
    }
    digest_elementary(&c);
    printf("digest %016" PRIx64 "\n", c.digest);
    printf("%zu passed, %zu failed\n", c.passed, c.failed);
    return c.failed == 0 ? 0 : 1;
}
