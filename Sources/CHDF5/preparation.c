#include "preparation.h"

#include <hdf5.h>

#include "lamina_hdf5.h"

// Debian ships no zstd filter, and a dataset cannot be created with a filter the library does not know. Chunks are
// written coded, so this one is never asked to do anything; that it is there also keeps libhdf5 from looking for
// plugins.
static size_t refuse_to_filter(
    unsigned flags, size_t parameter_count, const unsigned parameters[], size_t size, size_t *buffer_size,
    void **buffer) {
    (void)flags, (void)parameter_count, (void)parameters, (void)size, (void)buffer_size, (void)buffer;
    return 0;
}

static const H5Z_class2_t zstd_filter = {
    .version = H5Z_CLASS_T_VERS,
    .id = LAMINA_HDF5_ZSTD,
    .encoder_present = 1,
    .decoder_present = 1,
    .name = "Zstandard compression: http://www.zstd.net",
    .filter = refuse_to_filter,
};

int lamina_hdf5_prepare(void) {
    static int is_prepared = 0;
    if (is_prepared) return 0;
    // Nothing that is not part of this program may take part in writing.
    if (H5PLset_loading_state(0) < 0) return -1;
    if (H5Zregister(&zstd_filter) < 0) return -1;
    is_prepared = 1;
    return 0;
}
