#include "preparation.h"

#include <hdf5.h>

#include "lamina_hdf5.h"

// No library ships these filters, and a dataset cannot be created with a filter the library does not know. Chunks are
// written coded, so that neither is ever asked to do anything; that they are there also keeps libhdf5 from looking for
// plugins.
static size_t refuse_to_filter(
    unsigned flags, size_t parameter_count, const unsigned parameters[], size_t size, size_t *buffer_size,
    void **buffer) {
    (void)flags, (void)parameter_count, (void)parameters, (void)size, (void)buffer_size, (void)buffer;
    return 0;
}

// The names are stored with every dataset.
static const struct {
    H5Z_filter_t number;
    const char *name;
} filters[] = {
    {LAMINA_HDF5_ZSTD, "Zstandard compression: http://www.zstd.net"},
    {LAMINA_HDF5_EXP_TIER, "Lamina exp-tier"},
    {LAMINA_HDF5_ECQ_TIER, "Lamina ecq-tier"},
};

static int register_filters(void) {
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const H5Z_class2_t class = {
            .version = H5Z_CLASS_T_VERS,
            .id = filters[i].number,
            .encoder_present = 1,
            .decoder_present = 1,
            .name = filters[i].name,
            .filter = refuse_to_filter,
        };
        if (H5Zregister(&class) < 0) return -1;
    }
    return 0;
}

int lamina_hdf5_prepare(void) {
    static int is_prepared = 0;
    if (is_prepared) return 0;
    // Nothing that is not part of this program may take part in writing.
    if (H5PLset_loading_state(0) < 0) return -1;
    if (register_filters() < 0) return -1;
    is_prepared = 1;
    return 0;
}
