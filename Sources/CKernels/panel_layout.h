// Row-major rows into a panel and back. BF16 pairs and F32 words are both 32-bit words, so both are one transpose of
// 16 x 16 words; F16 and bytes go through the same transpose as two or four k at once, which are then taken apart.
// Compiled once per instruction set, after this is defined:
//   transpose_block(source, source_stride, target, target_stride)   16 x 16 words, strides in bytes
#ifndef LAMINA_PANEL_LAYOUT_H
#define LAMINA_PANEL_LAYOUT_H

#include "internal.h"

enum {
    BLOCK = 16,  // rows, and 32-bit words of each
    WORD = 4,
    BLOCK_BYTES = BLOCK * WORD,
};

typedef uint32_t word_block[BLOCK][BLOCK];

// A part of the matrix: up to 16 rows by up to 64 bytes of each row.
typedef struct matrix_block {
    size_t row;
    size_t rows;
    size_t byte;
    size_t bytes;
} matrix_block;

LAMINA_INLINE matrix_block matrix_block_at(size_t row, size_t rows, size_t byte, size_t row_bytes) {
    return (matrix_block){
        .row = row,
        .rows = rows > row ? LAMINA_MIN(rows - row, (size_t)BLOCK) : 0,
        .byte = byte,
        .bytes = LAMINA_MIN(row_bytes - byte, (size_t)BLOCK_BYTES),
    };
}

LAMINA_INLINE bool matrix_block_is_full(matrix_block block) {
    return block.rows == BLOCK && block.bytes == BLOCK_BYTES;
}

// turned[word][row], with +0 outside the matrix.
static void read_block(const uint8_t *source, size_t stride, matrix_block block, word_block turned) {
    source += block.row * stride + block.byte;
    if (matrix_block_is_full(block)) {
        transpose_block(source, stride, (uint8_t *)turned, BLOCK_BYTES);
        return;
    }
    uint8_t padded[BLOCK][BLOCK_BYTES] = {{0}};
    for (size_t i = 0; i < block.rows; ++i) {
        memcpy(padded[i], source + i * stride, block.bytes);
    }
    transpose_block(padded[0], BLOCK_BYTES, (uint8_t *)turned, BLOCK_BYTES);
}

static void write_block(word_block turned, uint8_t *target, size_t stride, matrix_block block) {
    target += block.row * stride + block.byte;
    if (matrix_block_is_full(block)) {
        transpose_block((const uint8_t *)turned, BLOCK_BYTES, target, stride);
        return;
    }
    uint8_t padded[BLOCK][BLOCK_BYTES];
    transpose_block((const uint8_t *)turned, BLOCK_BYTES, padded[0], BLOCK_BYTES);
    for (size_t i = 0; i < block.rows; ++i) {
        memcpy(target + i * stride, padded[i], block.bytes);
    }
}

static void pack_words(const uint8_t *source, size_t stride, size_t rows, size_t width, size_t row_bytes,
                       uint8_t *panel) {
    const size_t panel_stride = width * WORD;
    for (size_t byte = 0; byte < row_bytes; byte += BLOCK_BYTES) {
        for (size_t row = 0; row < width; row += BLOCK) {
            const matrix_block block = matrix_block_at(row, rows, byte, row_bytes);
            uint8_t *target = panel + (byte / WORD) * panel_stride + row * WORD;
            if (matrix_block_is_full(block)) {
                transpose_block(source + row * stride + byte, stride, target, panel_stride);
                continue;
            }
            word_block turned;
            read_block(source, stride, block, turned);
            for (size_t word = 0; word * WORD < block.bytes; ++word) {
                memcpy(target + word * panel_stride, turned[word], BLOCK_BYTES);
            }
        }
    }
}

static void unpack_words(const uint8_t *panel, size_t width, size_t rows, size_t row_bytes, uint8_t *target,
                         size_t stride) {
    const size_t panel_stride = width * WORD;
    for (size_t byte = 0; byte < row_bytes; byte += BLOCK_BYTES) {
        for (size_t row = 0; row < rows; row += BLOCK) {
            const matrix_block block = matrix_block_at(row, rows, byte, row_bytes);
            const uint8_t *source = panel + (byte / WORD) * panel_stride + row * WORD;
            if (matrix_block_is_full(block)) {
                transpose_block(source, panel_stride, target + row * stride + byte, stride);
                continue;
            }
            word_block turned = {{0}};
            for (size_t word = 0; word * WORD < block.bytes; ++word) {
                memcpy(turned[word], source + word * panel_stride, BLOCK_BYTES);
            }
            write_block(turned, target, stride, block);
        }
    }
}

static void pack_panel_bf16(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count,
                            void *panel) {
    pack_words(source, row_stride * 2, rows, width, k_count * 2, panel);
}

static void unpack_panel_bf16(const void *panel, size_t width, size_t rows, size_t k_count, void *target,
                              size_t row_stride) {
    unpack_words(panel, width, rows, k_count * 2, target, row_stride * 2);
}

static void pack_panel_f32(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count,
                           void *panel) {
    pack_words(source, row_stride * 4, rows, width, k_count * 4, panel);
}

static void unpack_panel_f32(const void *panel, size_t width, size_t rows, size_t k_count, void *target,
                             size_t row_stride) {
    unpack_words(panel, width, rows, k_count * 4, target, row_stride * 4);
}

LAMINA_INLINE void store_part(size_t size, uint8_t *target, uint32_t word, size_t part) {
    const uint32_t value = word >> (part * 8 * size);
    if (size == 1) {
        *target = (uint8_t)value;
    } else {
        *(uint16_t *)(void *)target = (uint16_t)value;
    }
}

LAMINA_INLINE uint32_t load_part(size_t size, const uint8_t *source, size_t part) {
    const uint32_t value = size == 1 ? *source : *(const uint16_t *)(const void *)source;
    return value << (part * 8 * size);
}

// `size` is 1 or 2: bytes of an element, of which a word holds WORD / size neighbours in k.
LAMINA_INLINE void pack_parts(size_t size, const uint8_t *source, size_t stride, size_t rows, size_t width,
                              size_t row_bytes, uint8_t *panel) {
    for (size_t byte = 0; byte < row_bytes; byte += BLOCK_BYTES) {
        for (size_t row = 0; row < width; row += BLOCK) {
            const matrix_block block = matrix_block_at(row, rows, byte, row_bytes);
            word_block turned;
            read_block(source, stride, block, turned);
            uint8_t *target = panel + byte * width + row * size;
            for (size_t k = 0; k * size < block.bytes; ++k) {
                for (size_t i = 0; i < BLOCK; ++i) {
                    store_part(size, target + (k * width + i) * size, turned[k * size / WORD][i], k % (WORD / size));
                }
            }
        }
    }
}

LAMINA_INLINE void unpack_parts(size_t size, const uint8_t *panel, size_t width, size_t rows, size_t row_bytes,
                                uint8_t *target, size_t stride) {
    for (size_t byte = 0; byte < row_bytes; byte += BLOCK_BYTES) {
        for (size_t row = 0; row < rows; row += BLOCK) {
            const matrix_block block = matrix_block_at(row, rows, byte, row_bytes);
            const uint8_t *source = panel + byte * width + row * size;
            word_block turned = {{0}};
            for (size_t k = 0; k * size < block.bytes; ++k) {
                for (size_t i = 0; i < BLOCK; ++i) {
                    turned[k * size / WORD][i] |= load_part(size, source + (k * width + i) * size, k % (WORD / size));
                }
            }
            write_block(turned, target, stride, block);
        }
    }
}

static void pack_panel_f16(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count,
                           void *panel) {
    pack_parts(2, source, row_stride * 2, rows, width, k_count * 2, panel);
}

static void unpack_panel_f16(const void *panel, size_t width, size_t rows, size_t k_count, void *target,
                             size_t row_stride) {
    unpack_parts(2, panel, width, rows, k_count * 2, target, row_stride * 2);
}

static void pack_panel_f8(const void *source, size_t row_stride, size_t rows, size_t width, size_t k_count,
                          void *panel) {
    pack_parts(1, source, row_stride, rows, width, k_count, panel);
}

static void unpack_panel_f8(const void *panel, size_t width, size_t rows, size_t k_count, void *target,
                            size_t row_stride) {
    unpack_parts(1, panel, width, rows, k_count, target, row_stride);
}

#endif
