// Writing the HDF5 side of a shard. Opaque types, plain integers and function pointers only: hdf5.h is full of macros
// that a module map cannot carry, so it stays inside this target.
#ifndef LAMINA_HDF5_H
#define LAMINA_HDF5_H

#include <stdint.h>
#include <stddef.h>

// A file being written, and everything open in it. Calls on one file must not overlap; calls on different files may.
typedef struct lamina_hdf5_file lamina_hdf5_file;

// Where the bytes go. All offsets count from the start of the file. Each returns 0, or -1 after which the file is lost:
// nothing is written any more and only lamina_hdf5_discard is of use.
typedef struct lamina_hdf5_output {
    void *context;
    int (*write)(void *context, const void *bytes, size_t size, uint64_t offset);
    int (*truncate)(void *context, uint64_t size);
} lamina_hdf5_output;

typedef enum lamina_hdf5_status {
    LAMINA_HDF5_OK = 0,
    LAMINA_HDF5_OUTPUT_FAILED = -1,  // a callback returned -1
    LAMINA_HDF5_REFUSED = -2,        // libhdf5 refused, or an argument makes no sense; see lamina_hdf5_message
} lamina_hdf5_status;

typedef enum lamina_hdf5_filter {
    LAMINA_HDF5_NO_FILTER = 0,
    LAMINA_HDF5_ZSTD = 32015,      // the registered HDF5 filter: one zstd frame per chunk
    LAMINA_HDF5_EXP_TIER = 44554,  // Lamina's own, from the range nobody registers: formats/shard.md, "exp-tier"
    LAMINA_HDF5_ECQ_TIER = 44555,  // the same for codes of quantized panels: formats/ecq-tier.md
} lamina_hdf5_filter;

// What a dataset is made of, little-endian.
typedef enum lamina_hdf5_element {
    LAMINA_HDF5_BYTE = 0,
    LAMINA_HDF5_INT32 = 1,
    LAMINA_HDF5_FLOAT64 = 2,
} lamina_hdf5_element;

// Bit 0 of a chunk's filter mask: the first filter was skipped, the chunk is stored as it is.
enum { LAMINA_HDF5_FILTER_SKIPPED = 1 };

// Groups and datasets are numbers, valid until the file is finished or discarded.
typedef int32_t lamina_hdf5_object;
enum { LAMINA_HDF5_ROOT = 0 };  // the group every file begins with

// user_block_size: a power of two, at least 4096. Never writes there. NULL on failure, with the reason in message.
lamina_hdf5_file *lamina_hdf5_create(
    lamina_hdf5_output output, uint64_t user_block_size, char *message, size_t message_size);

// Names are link names: not empty, not ".", without '/'. A result < 0 is a lamina_hdf5_status.
lamina_hdf5_object lamina_hdf5_make_group(lamina_hdf5_file *file, lamina_hdf5_object parent, const char *name);

// A chunked one-dimensional dataset of total_bytes bytes; both sizes are whole elements.
lamina_hdf5_object lamina_hdf5_make_dataset(
    lamina_hdf5_file *file, lamina_hdf5_object parent, const char *name, lamina_hdf5_element element,
    uint64_t total_bytes, uint32_t chunk_bytes, lamina_hdf5_filter filter);

lamina_hdf5_status lamina_hdf5_set_text(
    lamina_hdf5_file *file, lamina_hdf5_object object, const char *name, const char *utf8, size_t size);
lamina_hdf5_status lamina_hdf5_set_integer(
    lamina_hdf5_file *file, lamina_hdf5_object object, const char *name, int64_t value);
lamina_hdf5_status lamina_hdf5_set_naturals(
    lamina_hdf5_file *file, lamina_hdf5_object object, const char *name, const uint64_t *values, size_t count);

// Writes one chunk as it is to be stored, once; *offset is where in the file it went.
lamina_hdf5_status lamina_hdf5_write_chunk(
    lamina_hdf5_file *file, lamina_hdf5_object dataset, uint64_t index, const void *bytes, size_t size,
    uint32_t filter_mask, uint64_t *offset);

// What libhdf5's own index says of a chunk. The address counts from the user block's end in some versions of the
// library and from the start of the file in others.
lamina_hdf5_status lamina_hdf5_chunk_info(
    lamina_hdf5_file *file, lamina_hdf5_object dataset, uint64_t index, uint64_t *address, uint64_t *size,
    uint32_t *filter_mask);

// Why the last call on this file returned LAMINA_HDF5_REFUSED.
const char *lamina_hdf5_message(const lamina_hdf5_file *file);

// Closes the structure and writes it out; *file_size is the file's size, a multiple of 4096. Refused if a dataset lacks
// a chunk. Frees nothing: lamina_hdf5_discard does.
lamina_hdf5_status lamina_hdf5_finish(lamina_hdf5_file *file, uint64_t *file_size);

// Releases everything without writing.
void lamina_hdf5_discard(lamina_hdf5_file *file);

// Objects that libhdf5 holds open in this process; for tests.
int64_t lamina_hdf5_open_objects(void);

// The library's version, as "1.10.8".
void lamina_hdf5_version(char *text, size_t size);

#endif
