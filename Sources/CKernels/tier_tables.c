// What shuffles need to expand or compress 8 bytes by a mask of 8 bits.
#include "tier.h"

#define RANK(mask, bit) ((mask) >> (bit)&1 ? __builtin_popcount((mask) & ((1 << (bit)) - 1)) : 0x80)
#define RANKS(mask) \
    { \
        RANK(mask, 0), RANK(mask, 1), RANK(mask, 2), RANK(mask, 3), RANK(mask, 4), RANK(mask, 5), RANK(mask, 6), \
            RANK(mask, 7) \
    }

// The lowest bit, and the mask without it. Beyond the last bit the position is 8.
#define FIRST(mask) __builtin_ctz((mask) | 256)
#define REST(mask) ((mask) & ((mask)-1))
#define REST_2(mask) REST(REST(mask))
#define REST_4(mask) REST_2(REST_2(mask))
#define POSITIONS(mask) \
    { \
        FIRST(mask), FIRST(REST(mask)), FIRST(REST_2(mask)), FIRST(REST(REST_2(mask))), FIRST(REST_4(mask)), \
            FIRST(REST(REST_4(mask))), FIRST(REST_2(REST_4(mask))), FIRST(REST(REST_2(REST_4(mask)))) \
    }

#define ROWS_4(row, mask) row(mask), row((mask) + 1), row((mask) + 2), row((mask) + 3)
#define ROWS_16(row, mask) ROWS_4(row, mask), ROWS_4(row, (mask) + 4), ROWS_4(row, (mask) + 8), ROWS_4(row, (mask) + 12)
#define ROWS_64(row, mask) \
    ROWS_16(row, mask), ROWS_16(row, (mask) + 16), ROWS_16(row, (mask) + 32), ROWS_16(row, (mask) + 48)
#define ROWS_256(row) ROWS_64(row, 0), ROWS_64(row, 64), ROWS_64(row, 128), ROWS_64(row, 192)

const uint8_t lamina_tier_ranks[256][8] = {ROWS_256(RANKS)};
const uint8_t lamina_tier_positions[256][8] = {ROWS_256(POSITIONS)};
