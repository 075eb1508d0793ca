// Lamina's inner loops: one table of functions per instruction set, all with the same results to the bit.
//
// Order of every multiplied output element (docs/architecture.md, "Determinism"):
//   y = ((s0 + s1) + s2) + ..., s_b = one chain of fused multiply-adds over absolute k in [512 b, 512 b + 512),
//   f32, starting from +0, rising k. SIMD lanes are output rows, so no vector width can change it.
// Every other function states its own fixed order below; none depends on thread count, tile or batch width.
#ifndef LAMINA_KERNELS_H
#define LAMINA_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- instruction sets -------------------------------------------------------------------------------------

typedef enum lamina_isa {
    LAMINA_ISA_PORTABLE = 0,
    LAMINA_ISA_NEON = 1,
    LAMINA_ISA_AVX2 = 2,          // AVX2 + FMA + F16C
    LAMINA_ISA_AVX512 = 3,        // AVX-512 F, BW, VL, DQ
    LAMINA_ISA_AVX512_VBMI2 = 4,  // these and VBMI, VBMI2: Ice Lake, Zen 4 and later
} lamina_isa;

// Whether this machine can run it.
bool lamina_isa_is_available(lamina_isa isa);
// "portable", "neon", "avx2", "avx512", "avx512vbmi2".
const char *lamina_isa_name(lamina_isa isa);
// The best available one, or the one named by the environment variable LAMINA_ISA.
// False if LAMINA_ISA names an unknown or unavailable one (then *isa is the best available).
bool lamina_isa_choose(lamina_isa *isa);

// ---- weights ----------------------------------------------------------------------------------------------

typedef enum lamina_weight_type {
    LAMINA_WEIGHT_BF16 = 0,  // panel64, pairs: word(k, r) at (k/2)*2*width + 2*r + (k%2)
    LAMINA_WEIGHT_F16 = 1,   // panel64: word(k, r) at k*width + r
    LAMINA_WEIGHT_F32 = 2,   // panel64: word(k, r) at k*width + r
} lamina_weight_type;

// k values per chain; a chunk that splits k begins at a multiple of it.
#define LAMINA_CHAIN_LENGTH 512
// Rows in a full panel. The last panel of a matrix is ceil16(rows mod 64) rows wide.
#define LAMINA_PANEL_ROWS 64

// One panel (or a k-range of one) times all columns of the batch.
typedef struct lamina_panel_task {
    const void *weights;  // the panel's words for k_begin..<k_begin + k_count, laid out as above, 64-byte aligned or not
    size_t width;         // rows stored: 16, 32, 48 or 64
    size_t rows;          // rows computed, <= width; the others are padding and are dropped
    size_t k_begin;       // absolute, a multiple of LAMINA_CHAIN_LENGTH
    size_t k_count;       // k values stored; for BF16 even (a padded k has weight +0 and x must be +0 there)
    const float *x;       // [columns][x_stride]; x[0] belongs to absolute k = 0; +0 at a padded k
    size_t x_stride;
    float *y;             // [columns][y_stride]; y[0] is the panel's first row
    size_t y_stride;
    size_t columns;
} lamina_panel_task;

// ---- exp-tier ---------------------------------------------------------------------------------------------

// BF16 words coded by how frequent their exponents are, in segments that decode on their own (formats/shard.md,
// "exp-tier"). The same words give the same bytes on every instruction set.

// Words in the largest segment: 32 Mi.
#define LAMINA_TIER_LARGEST 33554432
// Bytes of scratch that decoding takes, 64-byte aligned; what they hold before does not matter.
#define LAMINA_TIER_SCRATCH 82944
// Most bytes a segment of `count` words takes.
size_t lamina_tier_bound(size_t count);

// ---- attention --------------------------------------------------------------------------------------------

// Positions per block of the key cache: keys are stored [position/16][head_dim][16] so that lanes are positions.
#define LAMINA_KEY_BLOCK 16
// Most query heads in a task: the keys and values they share are then loaded once for all of them.
#define LAMINA_ATTENTION_QUERIES 4

typedef struct lamina_attention_task {
    const float *query;   // [queries][head_dim]
    size_t queries;       // 1 to LAMINA_ATTENTION_QUERIES
    const float *keys;    // one KV head's cache: [blocks][head_dim][16]
    const float *values;  // one KV head's cache: [positions][head_dim]
    size_t head_dim;
    size_t first;         // attend to positions first..<count
    size_t count;
    float scale;          // scores are (chain over head_dim of fma(q, k)) * scale
    float *scores;        // scratch, [queries][score_stride]
    size_t score_stride;  // floats, at least count rounded up to 16
    float *output;        // [queries][head_dim]
} lamina_attention_task;

// ---- the table --------------------------------------------------------------------------------------------

typedef struct lamina_kernels {
    lamina_isa isa;

    // y for one panel; when k_begin is 0 y is overwritten, else the chunk's chains are added to it in order.
    // Index: lamina_weight_type.
    void (*multiply_panel[3])(const lamina_panel_task *task);

    // BF16 planes: r = rotl16(w, 1); exponent = r >> 8; sign_mantissa = r & 255.
    void (*split_bf16)(const uint16_t *weights, uint8_t *exponent, uint8_t *sign_mantissa, size_t count);
    void (*merge_bf16)(const uint8_t *exponent, const uint8_t *sign_mantissa, uint16_t *weights, size_t count);
    // FP16 planes: high byte, low byte.
    void (*split_f16)(const uint16_t *weights, uint8_t *high, uint8_t *low, size_t count);
    void (*merge_f16)(const uint8_t *high, const uint8_t *low, uint16_t *weights, size_t count);
    // FP32 planes: r = rotl32(w, 1); planes[0] = r >> 24 (exponent), planes[1] = (r >> 16) & 255, planes[2], planes[3].
    void (*split_f32)(const uint32_t *weights, uint8_t *const planes[4], size_t count);
    void (*merge_f32)(const uint8_t *const planes[4], uint32_t *weights, size_t count);

    // Row-major source rows into one panel's words, and back. `rows` source rows of `row_stride` elements, k values
    // k_count from each; rows..<width and an odd last BF16 k are padded with +0. Index: lamina_weight_type.
    void (*pack_panel[3])(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count, void *panel);
    void (*unpack_panel[3])(const void *panel, size_t width, size_t rows, size_t k_count, void *target, size_t row_stride);

    // Codes 1 to LAMINA_TIER_LARGEST words as one segment and returns its size. Room: lamina_tier_bound(count).
    size_t (*encode_tier)(const uint16_t *weights, size_t count, void *segment);
    // The bytes may be anything: nothing is read outside the segment's `size` bytes or written outside the output and
    // the scratch. False, with the output in any state, unless they are a segment of exactly `count` words whose
    // reserved bytes and filling bits are zero and whose tiers hold as many symbols as the tiers before them need.
    bool (*decode_tier)(const void *segment, size_t size, uint16_t *weights, size_t count, void *scratch);
    // multiply_panel[LAMINA_WEIGHT_BF16] for a panel that is stored as a segment of width * k_count words, with the same
    // results: task->weights is the segment, of `size` bytes. False as for decode_tier, with y in any state.
    bool (*multiply_tier_panel)(const lamina_panel_task *task, size_t size, void *scratch);

    // To f32 (exact). Index: lamina_weight_type.
    void (*widen[3])(const void *source, float *target, size_t count);

    // out = x * (1 / sqrt(mean(x^2) + epsilon)) * weight. Sum of squares: 16 partial sums (element i adds to i % 16,
    // rising i, multiply then add), then halves added 8, 4, 2, 1. 1/sqrt by IEEE division and square root.
    void (*rms_norm)(const float *x, const float *weight, float epsilon, float *out, size_t count);
    // out[i] += x[i]
    void (*add)(const float *x, float *out, size_t count);
    // gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i], exp as lamina_expf.
    void (*silu_multiply)(float *gate, const float *up, size_t count);
    // Rotate pairs (i, i + rotary/2) of one head: cosine and sine have rotary/2 entries.
    void (*rope_half)(float *head, const float *cosine, const float *sine, size_t rotary);
    // Scores, softmax (maximum; exp as lamina_expf; sum in 16 partial sums as rms_norm; times 1/sum), then
    // output[d] = one fma chain over rising positions.
    void (*attend)(const lamina_attention_task *task);
} lamina_kernels;

// The table for one instruction set; portable's if it is not available here. Never NULL.
const lamina_kernels *lamina_kernels_for(lamina_isa isa);

// The slow, obvious reference beside each fast kernel (plain loops, fmaf).
const lamina_kernels *lamina_kernels_reference(void);

// ---- elementary functions: our own, so that results do not depend on a libm ----------------------------------

// f32 exp: multiplies and adds only, the same on every instruction set. Underflows to +0, overflows to +inf.
float lamina_expf(float x);
// Double precision, within 2 ulp for the arguments rope tables need: |x| < 2^31 for sin and cos.
double lamina_sin(double x);
double lamina_cos(double x);
double lamina_log(double x);
double lamina_exp(double x);
double lamina_pow(double base, double exponent);

// ---- thread pool: spin, then futex; joins on finished tasks, not on workers ----------------------------------

typedef struct lamina_pool lamina_pool;
// `threads` counts the caller; NULL if threads could not be started. At most 1024.
lamina_pool *lamina_pool_create(size_t threads);
void lamina_pool_destroy(lamina_pool *pool);
size_t lamina_pool_threads(const lamina_pool *pool);
// Runs task(context, index, worker) for every index < count (< 2^20), claimed in rising order; worker < threads.
// Returns when all are finished. Only one caller at a time; a task must not call it.
void lamina_pool_run(lamina_pool *pool, size_t count, void (*task)(void *context, size_t index, size_t worker), void *context);

#endif
