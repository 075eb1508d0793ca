// Quantized weights: where their bytes are, and the kernels' tasks. Included by lamina_kernels.h.
//
// A matrix [rows, columns] lies in panels of 16 rows over all columns. The last panel is filled with zero rows, and
// every panel to a multiple of 32 columns (lamina_quantized_columns, called padded below). Codes of 16 rows and a few
// neighbouring k lie together, so that SIMD lanes are rows:
//   codes of one byte:  byte(k, r) at (k/4)*64 + 4*r + k%4
//   codes of 4 bits:    byte(k, r) at (k/8)*64 + 4*r + k%4, the low half if (k/4)%2 is 0, else the high half
#ifndef LAMINA_QUANTIZED_H
#define LAMINA_QUANTIZED_H

#include <stddef.h>
#include <stdint.h>

// Rows in a panel, and columns that share a scale of Q8, of Q4 and of the activations.
#define LAMINA_QUANTIZED_ROWS 16
#define LAMINA_QUANTIZED_BLOCK 32
// Most escapes in a panel of LAMINA_SCHEME_ROW8, and what stands in place of those there are not.
#define LAMINA_ESCAPES 4
#define LAMINA_NO_ESCAPE UINT64_C(0x8080808080808080)

// What a slot (the decoded bytes of a chunk of whole panels) holds, and a weight's value in f32, every operation
// rounded. E is lamina_quantized_entries; parts that need it are filled to 64 bytes.
typedef enum lamina_scheme {
    // A panel: bf16 steps[16], uint64 escapes[4], then codes of one byte, code + 128.  code * step
    // Code -128 is an escape: its true code, an int16, is in the panel's list, in front and rising:
    // k << 24 | row in the panel << 16 | (uint16_t)code; the rest is LAMINA_NO_ESCAPE.
    LAMINA_SCHEME_ROW8 = 0,
    // A panel is chains of 512 k; a chain of n padded k: super f32[16], int8 scales[n/32][16], filled to 64 bytes, then
    // codes of one byte, code + 128.  code * (scale * super)
    LAMINA_SCHEME_Q8 = 1,
    // As Q8, with codes of 4 bits.  lamina_q4_codebook[code] * (scale * super)
    LAMINA_SCHEME_Q4 = 2,
    // A panel: f16 absmax[E][16], filled to 64 bytes, then codes of 4 bits.  lamina_nf4_values[code] * absmax
    LAMINA_SCHEME_NF4 = 3,
    // A panel: super f32[16], uint8 scales[E][16], filled to 64 bytes, then codes of 4 bits.
    // lamina_nf4_values[code] * (scale * super)
    LAMINA_SCHEME_NF4_DOUBLE = 4,
    // A panel: f32 absmax[E][16], then codes of one byte.  lamina_dynamic_map[code] * absmax
    LAMINA_SCHEME_INT8_DYNAMIC = 5,
} lamina_scheme;

#define LAMINA_SCHEMES 6

// Values of Q4's codes, rising; the largest magnitude is 127.
extern const int8_t lamina_q4_codebook[16];
// Values of NF4's codes, rising: quantiles of a normal distribution (QLoRA, arXiv 2305.14314, appendix E).
extern const float lamina_nf4_values[16];
// Values of INT8_DYNAMIC's codes, rising: bitsandbytes' signed dynamic map of 8 bits. Code 127 is 0, 255 is 1; of the
// others, code 127 + m and code 127 - m are +v(m) and -v(m), where for m in 2^i..<2^(i + 1), i from 0 to 6, v(m) is
// 10^(i - 6) times the middle of part m - 2^i of 0.1...1 cut into 2^i equal parts.
extern const float lamina_dynamic_map[256];

// k stored for `columns` of them: the next multiple of LAMINA_QUANTIZED_BLOCK.
size_t lamina_quantized_columns(size_t columns);
// Scales stored for a row. NF4, NF4_DOUBLE and INT8_DYNAMIC have one for every 64, 64 and 2048 weights (B) of the
// flattened [rows, columns]: weight (r, k) uses entry (r * columns + k) / B - (r * columns) / B of row r.
// The others: scales of a row's blocks of 32 (Q8, Q4), or 1 (ROW8).
size_t lamina_quantized_entries(lamina_scheme scheme, size_t columns);
// Bytes of one panel, a multiple of 64.
size_t lamina_quantized_panel_bytes(lamina_scheme scheme, size_t columns);
// Bytes of a slot of `panels` panels, a multiple of 64.
size_t lamina_quantized_slot_bytes(lamina_scheme scheme, size_t columns, size_t panels);

// A narrow panel: one of ROW8 in memory only, for decoding to read less. Bits b, 4 to 6 or 8, are chosen panel by panel.
//   uint32 b, filled to 64 bytes; steps and escapes of the panel; if b is 8, its codes; else
//   uint16 ends[blocks], filled to 64 bytes: codes listed up to the end of each block of 32 k
//   codes of each block, 64 b bytes: with group g the 64 bytes of k 4 g..<4 g + 4, byte 64 * (g/2) + j has the low 4 bits
//   of byte j, for odd g as its high half; then for each higher bit 64 bytes, bit g of byte j being that of byte j
//   uint32 listed[], filled to 64 bytes, blocks rising, then bytes of the panel: of a code that does not fit, k in the
//   block | row << 8 | (code - f) << 16
// Codes are stored less f = 128 - 2^(b - 1), those that do not fit as f.
// Most bytes of one, a multiple of 64.
size_t lamina_narrow_bound(size_t columns);

// One panel of a slot.
typedef struct lamina_quantized_panel {
    const void *bytes;  // as the scheme says
    size_t columns;     // of the matrix, not padded
    size_t row;         // of the matrix: the panel's first
    size_t rows;        // computed, <= 16; the others are padding and are dropped
} lamina_quantized_panel;

// Panel `panel_in_slot` of a slot (4-byte aligned at least, 64-byte for speed) whose first row is row
// `first_row_of_slot` of a matrix of `rows_of_matrix` rows.
lamina_quantized_panel lamina_quantized_panel_at(lamina_scheme scheme, const void *slot, size_t panel_in_slot,
                                                 size_t columns, size_t first_row_of_slot, size_t rows_of_matrix);

// Columns of a batch as quantize_activations leaves them.
typedef struct lamina_quantized_activations {
    const int8_t *codes;         // [columns of the batch][code_stride], padded k with code 0
    size_t code_stride;          // best no multiple of 4096: a cache keeps few lines so far apart
    const float *scales;         // [columns of the batch][block_stride], one for each 32 k
    const int32_t *corrections;  // the same: -128 times the block's sum of codes
    size_t block_stride;
} lamina_quantized_activations;

// Neighbouring panels times all columns of the batch, with int8 activations.
// Sums: isum of a block is the exact integer sum over its 32 k of weight code times activation code. A chain is 512 k;
// over its blocks, rising, from s = +0 (escapes with k or row outside the matrix count for nothing):
//   ROW8:   s = fma(isum, activation scale, s); after the blocks, for the row's escapes in the chain, rising k:
//           s = fma(true code + 128, activation code * activation scale, s); result s * step
//   Q8, Q4: s = fma(isum, scale * activation scale, s); result s * super
// y = ((r0 + r1) + r2) + ... over the chains' results. All f32, products and sums rounded apart but for fma.
typedef struct lamina_quantized_task {
    const lamina_quantized_panel *panels;
    size_t panel_count;  // 1 to 4
    lamina_quantized_activations x;
    float *y;            // [columns][y_stride]; y[0] is the first row of panels[0]; overwritten
    size_t y_stride;
    size_t columns;      // of the batch
} lamina_quantized_task;

#endif
