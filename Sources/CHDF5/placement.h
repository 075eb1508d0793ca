// A virtual file driver that decides where libhdf5's pieces lie, keeps its metadata in memory until the end, and
// passes chunks straight on.
#ifndef LAMINA_HDF5_PLACEMENT_H
#define LAMINA_HDF5_PLACEMENT_H

#include <hdf5.h>

#include "lamina_hdf5.h"

// Half of the chunks that a node of a dataset's index has room for. The library's own 32 take 2 KiB for every matrix, most
// of which have a few chunks.
enum { LAMINA_HDF5_INDEX_K = 4 };

// A stretch of the file that holds metadata, kept in memory until it is written whole.
typedef struct metadata_block {
    uint64_t offset;
    size_t size, used;
    uint8_t *bytes;  // size bytes, those never used are zero
} metadata_block;

// The file as the driver sees it. Offsets count from the start of the file.
typedef struct placement {
    lamina_hdf5_output output;
    uint64_t user_block_size;
    uint64_t end;  // of everything allocated
    metadata_block *blocks;
    size_t block_count;
    size_t reserved;         // bytes of metadata that the chunks still to come will need
    int is_writing_chunk;    // whether metadata allocated now was reserved before
    uint64_t chunk_offset;   // where the last chunk went
    int output_failed;
} placement;

// An access property list whose files live in `placement`, which must outlive them. Negative on failure.
hid_t lamina_hdf5_access(placement *placement);

// Bytes of chunk index that a dataset of that many chunks will need if they arrive in order.
size_t lamina_hdf5_index_bytes(uint64_t chunk_count);

// Writes the metadata and sets the file's size. 0 or -1.
int lamina_hdf5_write_metadata(placement *placement);
void lamina_hdf5_free_metadata(placement *placement);

#endif
