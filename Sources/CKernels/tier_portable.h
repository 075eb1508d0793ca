// The primitives of tier_decode.h and tier_encode.h, one symbol at a time.
#ifndef LAMINA_TIER_PORTABLE_H
#define LAMINA_TIER_PORTABLE_H

#include "tier.h"

typedef struct tier_bytes {
    uint8_t byte[TIER_GROUP];
} tier_bytes;

typedef tier_bytes tier_values;

typedef struct tier_palette {
    uint8_t entries[TIER_ENTRIES];
} tier_palette;

LAMINA_INLINE tier_palette tier_palette_load(const uint8_t entries[TIER_ENTRIES]) {
    return (tier_palette){{entries[0], entries[1], entries[2]}};
}

LAMINA_INLINE tier_values tier_lookup(const tier_palette *palette, uint64_t low, uint64_t high, const uint8_t *next) {
    tier_values values;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        const size_t symbol = (low >> i & 1) + 2 * (high >> i & 1);
        values.byte[i] = symbol < TIER_ENTRIES ? palette->entries[symbol] : *next++;
    }
    return values;
}

LAMINA_INLINE void tier_store_values(uint8_t *target, tier_values values) {
    memcpy(target, values.byte, TIER_GROUP);
}

LAMINA_INLINE void tier_store_words(uint16_t *target, tier_values exponents, const uint8_t *sign_mantissa) {
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        const uint16_t rotated = (uint16_t)(exponents.byte[i] << 8 | sign_mantissa[i]);
        target[i] = (uint16_t)(rotated >> 1 | rotated << 15);
    }
}

LAMINA_INLINE tier_bytes tier_load_bytes(const uint8_t *source) {
    tier_bytes bytes;
    memcpy(bytes.byte, source, TIER_GROUP);
    return bytes;
}

LAMINA_INLINE tier_bytes tier_split(const uint16_t *words, uint8_t *sign_mantissa) {
    tier_bytes exponents;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        exponents.byte[i] = (uint8_t)(words[i] >> 7);
        sign_mantissa[i] = (uint8_t)(words[i] << 1 | words[i] >> 15);
    }
    return exponents;
}

LAMINA_INLINE uint64_t tier_equal(tier_bytes bytes, uint8_t value) {
    uint64_t mask = 0;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        mask |= (uint64_t)(bytes.byte[i] == value) << i;
    }
    return mask;
}

LAMINA_INLINE void tier_compress(tier_bytes bytes, uint64_t mask, uint8_t *target) {
    for (; mask != 0; mask &= mask - 1) {
        *target++ = bytes.byte[__builtin_ctzll(mask)];
    }
}

typedef struct tier_table {
    uint8_t entries[16];
} tier_table;

LAMINA_INLINE tier_table tier_table_load(const uint8_t entries[16]) {
    tier_table table;
    memcpy(table.entries, entries, sizeof table.entries);
    return table;
}

LAMINA_INLINE tier_bytes tier_look_up(tier_table table, tier_bytes indices) {
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        indices.byte[i] = table.entries[indices.byte[i]];
    }
    return indices;
}

LAMINA_INLINE tier_bytes tier_spread(uint64_t bits) {
    tier_bytes found;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        found.byte[i] = bits >> i & 1 ? 255 : 0;
    }
    return found;
}

LAMINA_INLINE tier_bytes tier_expand_next(uint64_t bits, const uint8_t *next) {
    tier_bytes found = {{0}};
    for (; bits != 0; bits &= bits - 1) {
        found.byte[__builtin_ctzll(bits)] = *next++;
    }
    return found;
}

LAMINA_INLINE tier_bytes tier_add(tier_bytes a, tier_bytes b) {
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        a.byte[i] = (uint8_t)(a.byte[i] + b.byte[i]);
    }
    return a;
}

LAMINA_INLINE tier_bytes tier_and(tier_bytes a, tier_bytes b) {
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        a.byte[i] &= b.byte[i];
    }
    return a;
}

LAMINA_INLINE tier_bytes tier_field(tier_bytes bytes, size_t shift, uint8_t mask) {
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        bytes.byte[i] = bytes.byte[i] >> shift & mask;
    }
    return bytes;
}

LAMINA_INLINE uint64_t tier_at_least(tier_bytes bytes, uint8_t value) {
    uint64_t mask = 0;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        mask |= (uint64_t)(bytes.byte[i] >= value) << i;
    }
    return mask;
}

LAMINA_INLINE uint64_t tier_test(tier_bytes bytes, uint8_t bit) {
    uint64_t mask = 0;
    for (size_t i = 0; i < TIER_GROUP; ++i) {
        mask |= (uint64_t)((bytes.byte[i] & bit) != 0) << i;
    }
    return mask;
}

LAMINA_INLINE tier_bytes tier_translate(const uint8_t table[256], const uint8_t *source) {
    tier_bytes found;
    tier_translate_each(table, source, found.byte);
    return found;
}

#endif
