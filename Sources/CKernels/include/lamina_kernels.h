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

#include "lamina_quantize.h"
#include "lamina_quantized.h"

// ---- instruction sets -------------------------------------------------------------------------------------

typedef enum lamina_isa {
    LAMINA_ISA_PORTABLE = 0,
    LAMINA_ISA_NEON = 1,
    LAMINA_ISA_AVX2 = 2,          // AVX2 + FMA + F16C
    LAMINA_ISA_AVX512 = 3,        // AVX-512 F, BW, VL, DQ
    LAMINA_ISA_AVX512_VBMI2 = 4,  // these and VBMI, VBMI2, VNNI: Ice Lake, Zen 4 and later
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
    // Bytes, panel64: byte(k, r) at k*width + r. They carry scales of their own, so no kernel multiplies them: they are
    // widened first.
    LAMINA_WEIGHT_E4M3 = 3,  // no infinities; 0x7f and 0xff are NaN; up to 448
    LAMINA_WEIGHT_E5M2 = 4,  // the upper byte of an f16
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
#define LAMINA_TIER_SCRATCH 83968
// Most bytes a segment of `count` words takes.
size_t lamina_tier_bound(size_t count);

// ---- ecq-tier ---------------------------------------------------------------------------------------------

// 8-bit codes of quantized weights coded by how frequent they are, in segments that decode on their own
// (formats/ecq-tier.md). The same codes give the same bytes on every instruction set.

// A segment holds a multiple of this many codes, whole panels of quantized matrices do.
#define LAMINA_CODES_GROUP 512
// Codes in the largest segment: 32 Mi.
#define LAMINA_CODES_LARGEST 33554432
// Bytes of scratch that decoding takes, 64-byte aligned; what they hold before does not matter.
#define LAMINA_CODES_SCRATCH 46080
// Most bytes a segment of `count` codes takes.
size_t lamina_codes_bound(size_t count);

// ---- keys and values --------------------------------------------------------------------------------------

// How keys and values are kept. What is stored is widened to f32, exactly, wherever it is used.
typedef enum lamina_kv_type {
    LAMINA_KV_F32 = 0,
    LAMINA_KV_F16 = 1,   // rounded to nearest, ties to even; magnitudes above 65504, infinity included, become 65504
    LAMINA_KV_BF16 = 2,  // rounded to nearest, ties to even; what rounds beyond the range becomes infinite
    // One f16 scale for every 32 dimensions of a position (the last may be fewer): m / 127 in f32, then rounded as for
    // F16, m their largest magnitude. Codes are bytes -127 to 127: x / scale in f32, clamped to that, then rounded to
    // nearest, ties to even; 0 if the scale is 0. The value is code * scale, which f32 holds exactly. A NaN among them
    // makes the scale NaN and the codes 0.
    LAMINA_KV_Q8 = 3,
} lamina_kv_type;

// Positions per block of a cache. A cache is a ring of blocks: position p lies in block (p / 16) % ring_blocks.
#define LAMINA_KV_BLOCK 16
// Dimensions that share a scale of Q8.
#define LAMINA_KV_GROUP 32

// A block of keys is [dimension][16] elements, so that lanes are positions; a block of values is [16][dimension]
// elements, so that lanes are dimensions. Q8 has its scales behind them: [groups][16] of keys, [16][groups] of values,
// groups = dimension / 32 rounded up.
// Bytes of a block of keys or of values of `dimension` dimensions, a multiple of 64.
size_t lamina_kv_block_bytes(lamina_kv_type type, size_t dimension);

// ---- attention --------------------------------------------------------------------------------------------

// Most query heads in a task: the keys and values they share are then loaded once for all of them.
#define LAMINA_ATTENTION_QUERIES 4

// Query i attends to the positions first..<count of one KV head.
// Scores: one fma chain over rising dimensions from +0, times `scale`; if softcap > 0 then
// softcap * tanh(score / softcap), tanh as lamina_tanhf; if there are slopes then
// score + slope * (position - query_position), a product and a sum.
// Weights: exp(score - maximum), exp as lamina_expf; their sum in 16 partial sums (position p adds to p % 16, rising p,
// then halves added 8, 4, 2, 1); each times 1 / sum.
// Output: one fma chain over rising positions from +0 of weight and value. Without `values` the value of a position is
// the beginning of its key, and the output has 16 such chains (position p in chain p % 16, halves added 8, 4, 2, 1).
// No bit depends on ring_blocks, or on which queries share a task.
typedef struct lamina_attention_task {
    lamina_kv_type type;
    const float *query;     // query i: head_dim values at query + i * query_stride
    size_t query_stride;
    size_t queries;         // 1 to LAMINA_ATTENTION_QUERIES
    const void *keys;       // [ring_blocks] blocks of keys
    const void *values;     // [ring_blocks] blocks of values, or NULL: each value is the beginning of its key
    size_t ring_blocks;     // at least the blocks that first..<count touches
    size_t head_dim;        // of queries and keys
    size_t value_dim;       // of values and outputs; without `values` at most head_dim
    size_t first;           // < count
    size_t count;
    float scale;
    float softcap;          // 0: none
    const float *slopes;    // [queries] of ALiBi, or NULL
    size_t query_position;  // less than 2^31 from every position attended to; matters only with slopes
    float *scores;          // scratch, [queries][score_stride]
    size_t score_stride;    // floats, at least 16 for every block that first..<count touches
    float *output;          // output i: value_dim values at output + i * output_stride
    size_t output_stride;
} lamina_attention_task;

// ---- activations ------------------------------------------------------------------------------------------

// f32, every operation rounded, from left to right; exp, tanh and erf as lamina_expf, lamina_tanhf and lamina_erff.
typedef enum lamina_activation {
    LAMINA_ACTIVATION_SILU = 0,       // x / (1 + exp(-x))
    LAMINA_ACTIVATION_GELU_ERF = 1,   // 0.5 x (1 + erf(x * sqrt(1/2)))
    LAMINA_ACTIVATION_GELU_TANH = 2,  // 0.5 x (1 + tanh(sqrt(2/pi) * (x + 0.044715 x x x)))
    LAMINA_ACTIVATION_GELU_FAST = 3,  // 0.5 x (1 + tanh(x * 0.7978845608 * (1 + 0.044715 x x)))
    LAMINA_ACTIVATION_RELU = 4,       // 0 for x < 0, else x
} lamina_activation;

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
    void (*pack_panel[5])(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count, void *panel);
    void (*unpack_panel[5])(const void *panel, size_t width, size_t rows, size_t k_count, void *target, size_t row_stride);
    // out[i * out_stride + k] = the element of row row_begin + i, i < row_count, and k < k_count, as f32 (exact).
    void (*panel_rows)(lamina_weight_type type, const void *panel, size_t width, size_t row_begin, size_t row_count,
                       size_t k_count, float *out, size_t out_stride);

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
    // target[i] = the value of byte i, exact, times scale. `type` is E4M3 or E5M2. NaN stays NaN, infinity infinite.
    void (*widen_f8)(lamina_weight_type type, const uint8_t *source, float scale, float *target, size_t count);

    // Norms. Sums are 16 partial sums (element i adds to i % 16, rising i, multiply then add), then halves added
    // 8, 4, 2, 1. 1/sqrt by IEEE division and square root. `out` may be `x`.
    // out = x * (1 / sqrt(mean(x^2) + epsilon)) * (weight_offset + weight); an offset of 0 is not added, a weight of NULL
    // not multiplied.
    void (*rms_norm)(const float *x, const float *weight, float weight_offset, float epsilon, float *out, size_t count);
    // c = x - mean(x); out = c * (1 / sqrt(mean(c^2) + epsilon)), then * weight, then + bias, unless they are NULL.
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float epsilon, float *out, size_t count);

    // x[i] = activation(x[i])
    void (*activate)(lamina_activation activation, float *x, size_t count);
    // out[i] = activation(gate[i]) * up[i]; `out` may be `gate` or `up`.
    void (*activate_multiply)(lamina_activation activation, const float *gate, const float *up, float *out,
                              size_t count);
    // out[i] += x[i]
    void (*add)(const float *x, float *out, size_t count);
    // y[i] = fma(factor, x[i], y[i])
    void (*add_scaled)(float factor, const float *x, float *y, size_t count);
    // x[i] *= factor
    void (*scale)(float *x, float factor, size_t count);
    // x[i] = cap * tanh(x[i] / cap), tanh as lamina_tanhf.
    void (*softcap)(float *x, float cap, size_t count);

    // Rotate the first `rotary` values of one head in pairs: pair i, (a, b), becomes (a cos - b sin, b cos + a sin);
    // cosine and sine have rotary/2 entries.
    // Pair i is (i, i + rotary/2).
    void (*rope_half)(float *head, const float *cosine, const float *sine, size_t rotary);
    // Pair i is (2 i, 2 i + 1).
    void (*rope_pairs)(float *head, const float *cosine, const float *sine, size_t rotary);

    // Keeps one position of a head, of `head_dim` or `value_dim` values, at `lane` (position % 16) of a block.
    void (*store_key)(lamina_kv_type type, void *block, size_t head_dim, size_t lane, const float *source);
    void (*store_value)(lamina_kv_type type, void *block, size_t value_dim, size_t lane, const float *source);
    // See lamina_attention_task.
    void (*attend)(const lamina_attention_task *task);

    // One column of activations in blocks of 32; k from `count` to `padded` (lamina_quantized_columns) count as 0.
    // m = the block's largest magnitude; scale = m / 127; code = x * (127 / m), rounded to nearest with ties to even,
    // then clamped to -127...127; correction = -128 * the sum of codes. Where 127 / m is infinite (m below 2^-121 or
    // so, and 0), scale and codes are 0; where the block holds a NaN or an infinity, scale is NaN and codes are 0.
    void (*quantize_activations)(const float *x, size_t count, size_t padded, int8_t *codes, float *scales,
                                 int32_t *corrections);
    // See lamina_quantized_task. Index: lamina_scheme, ROW8 to Q4.
    void (*multiply_quantized[3])(const lamina_quantized_task *task);
    // A panel of ROW8 as a narrow one (lamina_narrow_bound), whose size in bytes it returns; and back, all bytes of it.
    size_t (*narrow_panel)(const void *row8, size_t columns, void *narrow);
    void (*restore_panel)(const void *narrow, size_t columns, void *row8);
    // multiply_quantized of ROW8, with narrow panels; best for few columns.
    void (*multiply_narrow)(const lamina_quantized_task *task);
    // out[(k - k_begin) * out_stride + r] = weight (r, k) of the panel, for all 16 r and k_count values of k from k_begin,
    // a multiple of 32; k_begin + k_count is at most panel->columns. ROW8's escapes are in it. Index: lamina_scheme.
    void (*dequantize_panel[LAMINA_SCHEMES])(const lamina_quantized_panel *panel, size_t k_begin, size_t k_count,
                                             float *out, size_t out_stride);
    // 1 to 4 neighbouring panels of a matrix times one column: y[16 i + r] is the row of panel i whose weights
    // dequantize_panel gives, multiplied with x in chains as multiply_panel does. False, and nothing written, where it
    // has no faster way than these two: panels with escapes, and rows that change their scales at different k. Index:
    // lamina_scheme.
    bool (*multiply_dequantized[LAMINA_SCHEMES])(const lamina_quantized_panel *panels, size_t panel_count,
                                                 const float *x, float *y);

    // See lamina_row_statistics.
    void (*row_statistics)(const float *row, size_t count, lamina_row_statistics *statistics);
    // Largest magnitudes of blocks of `block` values of a flattened matrix: maxima[(position + i) / block -
    // position / block] becomes the larger of what it is and the magnitude of values[i]. Begin with zeros; parts of a
    // block may come one after another.
    void (*flat_maxima)(const float *values, size_t count, size_t position, size_t block, float *maxima);
    // Writes all lamina_quantized_panel_bytes of a panel. Index: lamina_scheme. The same codes as bitsandbytes' CPU
    // quantization (quantize_4bit "nf4" with blocks of 64, quantize_blockwise with blocks of 2048) for NF4, NF4_DOUBLE
    // and INT8_DYNAMIC.
    void (*quantize_panel[LAMINA_SCHEMES])(const lamina_quantize_source *source, void *panel);
    // Adds k_begin..<k_begin + k_count to a panel's sums; decoded[(k - k_begin) * 16 + r] as dequantize_panel leaves it.
    void (*add_panel_errors)(const lamina_quantize_source *source, size_t k_begin, size_t k_count,
                             const float *decoded, lamina_panel_errors *sums);

    // Codes LAMINA_CODES_GROUP to LAMINA_CODES_LARGEST bytes, a multiple of LAMINA_CODES_GROUP, as one segment and returns
    // its size, a multiple of 64. Room: lamina_codes_bound(count).
    size_t (*encode_codes)(const uint8_t *codes, size_t count, void *segment);
    // The bytes may be anything: nothing is read outside the segment's `size` bytes or written outside the codes and the
    // scratch. False, with the codes in any state, unless they are a segment of exactly `count` codes: all that is
    // reserved or unused is zero, and the tiers hold as many symbols as the tiers before them need.
    bool (*decode_codes)(const void *segment, size_t size, uint8_t *codes, size_t count, void *scratch);
} lamina_kernels;

// The table for one instruction set; portable's if it is not available here. Never NULL.
const lamina_kernels *lamina_kernels_for(lamina_isa isa);

// The slow, obvious reference beside each fast kernel (plain loops, fmaf).
const lamina_kernels *lamina_kernels_reference(void);

// ---- elementary functions: our own, so that results do not depend on a libm ----------------------------------

// f32 exp: multiplies and adds only, the same on every instruction set. Underflows to +0, overflows to +inf.
float lamina_expf(float x);
// f32 tanh and erf, each within 1.5 ulp of the exact value over the whole range; odd functions, -0 stays -0. From the
// same operations: a polynomial near 0, elsewhere 1 - 2 / (exp(2 x) + 1) and 1 - exp(polynomial).
float lamina_tanhf(float x);
float lamina_erff(float x);
// 1 / (1 + exp(-x)), within 2.5 ulp down to x = -87; below -88.8 it is 0.
float lamina_sigmoidf(float x);
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
