// Lamina's own HDF5 filters, which decode chunks that are coded by tiers. Built as a dynamic library, each is a plugin
// that HDF5 libraries load by themselves from the folders in HDF5_PLUGIN_PATH; such a library holds one filter.
//
// The process has an HDF5 library already, whichever that is, and must not get a second one. So nothing of it is
// included or linked here; what a plugin and the library agree on is declared below, as in H5PLextern.h and
// H5Zpublic.h of HDF5 1.8.11 and of every version since.
#ifndef LAMINA_TIER_FILTERS_H
#define LAMINA_TIER_FILTERS_H

#include <stddef.h>

enum {
    // BF16 words: formats/shard.md, "exp-tier".
    LAMINA_EXP_TIER_FILTER = 44554,
    // Panels of quantized weights: formats/shard.md, "ecq-tier". For encoding alone a parameter: the matrix's columns.
    LAMINA_ECQ_TIER_FILTER = 44555,
};

// H5Z_func_t. Turns *buffer, `size` of whose *capacity bytes count, into its coded or decoded form: returns the new
// size after it has replaced buffer and capacity, or 0 with everything as it was.
typedef size_t lamina_hdf5_filter_function(
    unsigned flags, size_t parameter_count, const unsigned parameters[], size_t size, size_t *capacity, void **buffer);

enum {
    LAMINA_HDF5_OPTIONAL = 1,    // H5Z_FLAG_OPTIONAL: a chunk that the filter fails to encode is stored without it
    LAMINA_HDF5_DECODE = 0x100,  // H5Z_FLAG_REVERSE
};

// H5Z_class2_t.
typedef struct lamina_hdf5_filter_class {
    int version;  // H5Z_CLASS_T_VERS
    int id;
    unsigned encoder_present, decoder_present;
    const char *name;
    void (*can_apply)(void);  // this and the next: of other types in truth, always NULL here
    void (*set_local)(void);
    lamina_hdf5_filter_function *filter;
} lamina_hdf5_filter_class;

const lamina_hdf5_filter_class *lamina_exp_tier_filter(void);
const lamina_hdf5_filter_class *lamina_ecq_tier_filter(void);

// What the library looks for in a plugin, and all that is visible where the rest is built hidden. Each plugin defines
// them.
#define LAMINA_PLUGIN_EXPORT __attribute__((visibility("default")))

// H5PL_TYPE_FILTER.
LAMINA_PLUGIN_EXPORT int H5PLget_plugin_type(void);
// The filter's lamina_hdf5_filter_class.
LAMINA_PLUGIN_EXPORT const void *H5PLget_plugin_info(void);

#endif
