// The literal-only parameters that exp-huf needs are in the static part of the header, but the shared
// library exports them.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
