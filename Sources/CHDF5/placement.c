// libhdf5 never learns of a failed write to the disk except for a chunk's: its own structure is built in memory and
// written by us after it has closed the file. A library that cannot flush cannot close either, and leaks or crashes;
// this one always can. It also makes the result one contiguous region of metadata in front of the chunks, without
// bytes left over from earlier use of memory.
#include "placement.h"

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = 4096,
    // A block that cannot grow the last one because chunks lie behind it is made this large, so that there are few.
    LATER_BLOCK_BYTES = 16 * PAGE,
    // Version 1 B-tree of chunks, one dimension: 24 bytes of header, keys of 24, children of 8.
    INDEX_NODE_ENTRIES = 2 * LAMINA_HDF5_INDEX_K,
    INDEX_NODE_BYTES = 24 + (INDEX_NODE_ENTRIES + 1) * 24 + INDEX_NODE_ENTRIES * 8,
    // What a node keeps when it splits at the right edge: libhdf5 leaves nine tenths in the left half.
    INDEX_NODE_FILL = INDEX_NODE_ENTRIES * 9 / 10,
};

// libhdf5 opens a driver's file twice when it creates one; both are only views of the placement.
typedef struct driver_file {
    H5FD_t common;  // must come first
    placement *placement;
} driver_file;

static placement *placement_of(const H5FD_t *file) { return ((const driver_file *)file)->placement; }

static uint64_t rounded_up(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

static metadata_block *last_block(placement *p) { return p->block_count > 0 ? &p->blocks[p->block_count - 1] : NULL; }

static size_t room(placement *p) {
    const metadata_block *block = last_block(p);
    return block != NULL ? block->size - block->used : 0;
}

// Makes room for `size` bytes of metadata in the last block: by enlarging it while it is the end of the file, otherwise
// by beginning another.
static int make_room(placement *p, size_t size) {
    // One byte always stays free: metadata that ended where the file ends would invite libhdf5 to grow it in place.
    const size_t needed = size + 1;
    metadata_block *block = last_block(p);
    if (block != NULL && block->size - block->used >= needed) return 0;
    if (block != NULL && block->offset + block->size == p->end) {
        const size_t larger = rounded_up(block->used + needed, PAGE);
        uint8_t *bytes = realloc(block->bytes, larger);
        if (bytes == NULL) return -1;
        memset(bytes + block->size, 0, larger - block->size);
        block->bytes = bytes;
        block->size = larger;
    } else {
        metadata_block *blocks = realloc(p->blocks, (p->block_count + 1) * sizeof *blocks);
        if (blocks == NULL) return -1;
        p->blocks = blocks;
        const size_t least = p->block_count == 0 ? PAGE : LATER_BLOCK_BYTES;
        block = &blocks[p->block_count];
        block->offset = rounded_up(p->end, PAGE);
        block->used = 0;
        block->size = rounded_up(needed > least ? needed : least, PAGE);
        block->bytes = calloc(1, block->size);
        if (block->bytes == NULL) return -1;
        p->block_count += 1;
    }
    p->end = block->offset + block->size;
    return 0;
}

// The memory behind file bytes offset..<offset + size; NULL if they are not metadata.
static uint8_t *metadata_at(placement *p, uint64_t offset, size_t size) {
    for (size_t i = 0; i < p->block_count; i++) {
        metadata_block *block = &p->blocks[i];
        if (offset < block->offset || offset - block->offset >= block->size) continue;
        return size <= block->size - (offset - block->offset) ? block->bytes + (offset - block->offset) : NULL;
    }
    return NULL;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t max_address) {
    (void)name, (void)flags, (void)max_address;
    placement *const *p = H5Pget_driver_info(access);
    if (p == NULL) return NULL;
    driver_file *file = calloc(1, sizeof *file);
    if (file == NULL) return NULL;
    file->placement = *p;
    return &file->common;
}

static herr_t driver_close(H5FD_t *file) {
    free(file);
    return 0;
}

static int driver_compare(const H5FD_t *a, const H5FD_t *b) {
    const uintptr_t left = (uintptr_t)placement_of(a), right = (uintptr_t)placement_of(b);
    return (left > right) - (left < right);
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags) {
    (void)file;
    // No aggregation and no accumulation: the placement does both.
    *flags = 0;
#ifdef H5FD_FEAT_DEFAULT_VFD_COMPATIBLE
    *flags |= H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
#endif
    return 0;
}

static haddr_t driver_allocate(H5FD_t *file, H5FD_mem_t type, hid_t transfer, hsize_t size) {
    (void)transfer;
    placement *p = placement_of(file);
    if (size == 0 || size > SIZE_MAX / 2) return HADDR_UNDEF;
    if (type == H5FD_MEM_DRAW) {
        // The chunk index goes in front of the first chunk, so that it never comes between two.
        if (room(p) <= p->reserved && make_room(p, p->reserved) < 0) return HADDR_UNDEF;
        const uint64_t offset = rounded_up(p->end, PAGE);
        p->end = offset + size;
        return offset;
    }
    // Metadata is decoded byte by byte; 8 only keeps it readable in a dump.
    const size_t rounded = rounded_up(size, 8);
    if (make_room(p, rounded) < 0) return HADDR_UNDEF;
    metadata_block *block = last_block(p);
    const uint64_t offset = block->offset + block->used;
    block->used += rounded;
    if (p->is_writing_chunk) p->reserved -= rounded < p->reserved ? rounded : p->reserved;
    return offset;
}

static herr_t driver_free(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, hsize_t size) {
    // The few bytes that libhdf5 gives up when a heap grows stay unused.
    (void)file, (void)type, (void)transfer, (void)address, (void)size;
    return 0;
}

static haddr_t driver_end_of_allocation(const H5FD_t *file, H5FD_mem_t type) {
    (void)type;
    return placement_of(file)->end;
}

static herr_t driver_set_end_of_allocation(H5FD_t *file, H5FD_mem_t type, haddr_t address) {
    (void)type;
    placement *p = placement_of(file);
    // Set once, to the end of the user block; from then on space comes from driver_allocate alone.
    if (p->block_count > 0) return address == p->end ? 0 : -1;
    p->end = address;
    return 0;
}

static haddr_t driver_end_of_file(const H5FD_t *file, H5FD_mem_t type) {
    (void)type;
    // Nothing is there before the first allocation: that is how libhdf5 recognises a new file.
    const placement *p = placement_of(file);
    return p->block_count > 0 ? p->end : 0;
}

static herr_t driver_read(
    H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, void *buffer) {
    (void)type, (void)transfer;
    // Chunks are written once and never read back through libhdf5.
    const uint8_t *bytes = metadata_at(placement_of(file), address, size);
    if (bytes == NULL) return -1;
    memcpy(buffer, bytes, size);
    return 0;
}

static herr_t driver_write(
    H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t size, const void *buffer) {
    (void)type, (void)transfer;
    placement *p = placement_of(file);
    uint8_t *bytes = metadata_at(p, address, size);
    if (bytes != NULL) {
        memcpy(bytes, buffer, size);
        return 0;
    }
    if (address < p->user_block_size) return -1;
    if (p->output.write(p->output.context, buffer, size, address) != 0) {
        p->output_failed = 1;
        return -1;
    }
    p->chunk_offset = address;
    return 0;
}

static const H5FD_class_t driver_class = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)732,  // 256..511 are reserved for registration, 512 and up are free for testing
#endif
    .name = "lamina",
    .maxaddr = (haddr_t)INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(placement *),
    .open = driver_open,
    .close = driver_close,
    .cmp = driver_compare,
    .query = driver_query,
    .alloc = driver_allocate,
    .free = driver_free,
    .get_eoa = driver_end_of_allocation,
    .set_eoa = driver_set_end_of_allocation,
    .get_eof = driver_end_of_file,
    .read = driver_read,
    .write = driver_write,
    // Freed metadata is never handed out again as room for chunks.
    .fl_map =
        {H5FD_MEM_SUPER, H5FD_MEM_SUPER, H5FD_MEM_SUPER, H5FD_MEM_DRAW, H5FD_MEM_SUPER, H5FD_MEM_SUPER,
         H5FD_MEM_SUPER},
};

static hid_t driver_id = -1;

static void register_driver(void) { driver_id = H5FDregister(&driver_class); }

hid_t lamina_hdf5_access(placement *p) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_driver);
    if (driver_id < 0) return -1;
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return -1;
    if (H5Pset_driver(access, driver_id, &p) < 0) {
        H5Pclose(access);
        return -1;
    }
    return access;
}

size_t lamina_hdf5_index_bytes(uint64_t chunk_count) {
    uint64_t nodes = 0, level = chunk_count;
    do {
        level = (level + INDEX_NODE_FILL - 1) / INDEX_NODE_FILL;
        nodes += level;
    } while (level > 1);
    return nodes * INDEX_NODE_BYTES;
}

int lamina_hdf5_write_metadata(placement *p) {
    for (size_t i = 0; i < p->block_count && !p->output_failed; i++) {
        const metadata_block *block = &p->blocks[i];
        if (p->output.write(p->output.context, block->bytes, block->size, block->offset) != 0) p->output_failed = 1;
    }
    // Whole pages, so that the last chunk too can be read past the page cache.
    if (!p->output_failed && p->output.truncate(p->output.context, rounded_up(p->end, PAGE)) != 0) p->output_failed = 1;
    return p->output_failed ? -1 : 0;
}

void lamina_hdf5_free_metadata(placement *p) {
    for (size_t i = 0; i < p->block_count; i++) free(p->blocks[i].bytes);
    free(p->blocks);
    p->blocks = NULL;
    p->block_count = 0;
}
