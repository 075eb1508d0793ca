// The primitives of tier_decode.h and tier_encode.h from table look-ups of bytes, 16 symbols at a time.
#ifndef LAMINA_TIER_NEON_H
#define LAMINA_TIER_NEON_H

#include "tier.h"

#include <arm_neon.h>

enum { TIER_PARTS = TIER_GROUP / 16 };

typedef struct tier_bytes {
    uint8x16_t part[TIER_PARTS];
} tier_bytes;

typedef tier_bytes tier_values;

typedef struct tier_palette {
    uint8x16_t entries;  // by symbol; 0 for symbol 3
} tier_palette;

LAMINA_INLINE tier_palette tier_palette_load(const uint8_t entries[TIER_ENTRIES]) {
    const uint32_t packed = (uint32_t)entries[0] | (uint32_t)entries[1] << 8 | (uint32_t)entries[2] << 16;
    return (tier_palette){vreinterpretq_u8_u32(vdupq_n_u32(packed))};
}

// Bit i of 16 at byte i.
LAMINA_INLINE uint8x16_t tier_bit_of_byte(void) {
    return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
}

// Byte i: 0xff if bit i is set.
LAMINA_INLINE uint8x16_t tier_spread_bits(uint64_t bits) {
    const uint8x16_t bytes = vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8)));
    return vtstq_u8(bytes, tier_bit_of_byte());
}

// The next values at the places of 8 set bits, 0 elsewhere.
LAMINA_INLINE uint8x8_t tier_expand_8(uint64_t mask, const uint8_t *next) {
    return vtbl1_u8(vld1_u8(next), vld1_u8(lamina_tier_ranks[mask & 255]));
}

LAMINA_INLINE tier_values tier_lookup(const tier_palette *palette, uint64_t low, uint64_t high, const uint8_t *next) {
    uint64_t mask = low & high;
    uint64_t below = tier_bits_below(mask);
    tier_values values;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        const uint8x16_t one = vandq_u8(tier_spread_bits(low), vdupq_n_u8(1));
        const uint8x16_t two = vandq_u8(tier_spread_bits(high), vdupq_n_u8(2));
        const uint8x16_t named = vqtbl1q_u8(palette->entries, vorrq_u8(one, two));
        const uint8x8_t first = tier_expand_8(mask, next + (below & 255));
        const uint8x8_t second = tier_expand_8(mask >> 8, next + (below >> 8 & 255));
        values.part[i] = vorrq_u8(named, vcombine_u8(first, second));
        low >>= 16;
        high >>= 16;
        mask >>= 16;
        below >>= 16;
    }
    return values;
}

LAMINA_INLINE void tier_store_values(uint8_t *target, tier_values values) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        vst1q_u8(target + 16 * i, values.part[i]);
    }
}

LAMINA_INLINE void tier_store_words(uint16_t *target, tier_values exponents, const uint8_t *sign_mantissa) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        const uint8x16_t low = vld1q_u8(sign_mantissa + 16 * i);
        const uint8x16_t halves[2] = {vzip1q_u8(low, exponents.part[i]), vzip2q_u8(low, exponents.part[i])};
        LAMINA_UNROLL
        for (size_t half = 0; half < 2; ++half) {
            const uint16x8_t rotated = vreinterpretq_u16_u8(halves[half]);
            vst1q_u16(target + 16 * i + 8 * half, vsriq_n_u16(vshlq_n_u16(rotated, 15), rotated, 1));
        }
    }
}

LAMINA_INLINE tier_bytes tier_load_bytes(const uint8_t *source) {
    tier_bytes bytes;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        bytes.part[i] = vld1q_u8(source + 16 * i);
    }
    return bytes;
}

LAMINA_INLINE tier_bytes tier_split(const uint16_t *words, uint8_t *sign_mantissa) {
    tier_bytes exponents;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        uint8x16_t rotated[2];
        LAMINA_UNROLL
        for (size_t half = 0; half < 2; ++half) {
            const uint16x8_t word = vld1q_u16(words + 16 * i + 8 * half);
            rotated[half] = vreinterpretq_u8_u16(vsraq_n_u16(vshlq_n_u16(word, 1), word, 15));
        }
        vst1q_u8(sign_mantissa + 16 * i, vuzp1q_u8(rotated[0], rotated[1]));
        exponents.part[i] = vuzp2q_u8(rotated[0], rotated[1]);
    }
    return exponents;
}

// One bit of each byte, which is 0 or 0xff.
LAMINA_INLINE uint64_t tier_gather_bits(tier_bytes bytes) {
    uint8x16_t bits[TIER_PARTS];
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        bits[i] = vandq_u8(bytes.part[i], tier_bit_of_byte());
    }
    // Three additions of neighbours make one byte of each eight.
    const uint8x16_t pairs = vpaddq_u8(vpaddq_u8(bits[0], bits[1]), vpaddq_u8(bits[2], bits[3]));
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)), 0);
}

LAMINA_INLINE uint64_t tier_equal(tier_bytes bytes, uint8_t value) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        bytes.part[i] = vceqq_u8(bytes.part[i], vdupq_n_u8(value));
    }
    return tier_gather_bits(bytes);
}

LAMINA_INLINE void tier_compress(tier_bytes bytes, uint64_t mask, uint8_t *target) {
    uint64_t below = tier_bits_below(mask);
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        const uint8x8_t eights[2] = {vget_low_u8(bytes.part[i]), vget_high_u8(bytes.part[i])};
        LAMINA_UNROLL
        for (size_t half = 0; half < 2; ++half) {
            const uint8x8_t positions = vld1_u8(lamina_tier_positions[mask & 255]);
            vst1_u8(target + (below & 255), vtbl1_u8(eights[half], positions));
            mask >>= 8;
            below >>= 8;
        }
    }
}

typedef struct tier_table {
    uint8x16_t entries;
} tier_table;

LAMINA_INLINE tier_table tier_table_load(const uint8_t entries[16]) {
    return (tier_table){vld1q_u8(entries)};
}

LAMINA_INLINE tier_bytes tier_look_up(tier_table table, tier_bytes indices) {
    tier_bytes found;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        found.part[i] = vqtbl1q_u8(table.entries, indices.part[i]);
    }
    return found;
}

LAMINA_INLINE tier_bytes tier_spread(uint64_t bits) {
    tier_bytes found;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        found.part[i] = tier_spread_bits(bits >> 16 * i);
    }
    return found;
}

LAMINA_INLINE tier_bytes tier_expand_next(uint64_t bits, const uint8_t *next) {
    uint64_t below = tier_bits_below(bits);
    tier_bytes found;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        const uint8x8_t first = tier_expand_8(bits, next + (below & 255));
        const uint8x8_t second = tier_expand_8(bits >> 8, next + (below >> 8 & 255));
        found.part[i] = vcombine_u8(first, second);
        bits >>= 16;
        below >>= 16;
    }
    return found;
}

LAMINA_INLINE tier_bytes tier_add(tier_bytes a, tier_bytes b) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        a.part[i] = vaddq_u8(a.part[i], b.part[i]);
    }
    return a;
}

LAMINA_INLINE tier_bytes tier_and(tier_bytes a, tier_bytes b) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        a.part[i] = vandq_u8(a.part[i], b.part[i]);
    }
    return a;
}

LAMINA_INLINE tier_bytes tier_field(tier_bytes bytes, size_t shift, uint8_t mask) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        bytes.part[i] = vandq_u8(vshlq_u8(bytes.part[i], vdupq_n_s8((int8_t)-(int)shift)), vdupq_n_u8(mask));
    }
    return bytes;
}

LAMINA_INLINE uint64_t tier_at_least(tier_bytes bytes, uint8_t value) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        bytes.part[i] = vcgeq_u8(bytes.part[i], vdupq_n_u8(value));
    }
    return tier_gather_bits(bytes);
}

LAMINA_INLINE uint64_t tier_test(tier_bytes bytes, uint8_t bit) {
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        bytes.part[i] = vtstq_u8(bytes.part[i], vdupq_n_u8(bit));
    }
    return tier_gather_bits(bytes);
}

// 64 entries at a time: the others leave a byte as it is.
LAMINA_INLINE tier_bytes tier_translate(const uint8_t table[256], const uint8_t *source) {
    const tier_bytes indices = tier_load_bytes(source);
    tier_bytes found;
    LAMINA_UNROLL
    for (size_t i = 0; i < TIER_PARTS; ++i) {
        found.part[i] = vdupq_n_u8(0);
        LAMINA_UNROLL
        for (size_t part = 0; part < 4; ++part) {
            const uint8x16_t local = vsubq_u8(indices.part[i], vdupq_n_u8((uint8_t)(64 * part)));
            found.part[i] = vqtbx4q_u8(found.part[i], vld1q_u8_x4(table + 64 * part), local);
        }
    }
    return found;
}

#endif
