#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "messages.h"
#include "placement.h"
#include "preparation.h"

typedef struct object {
    hid_t id;
    uint64_t chunk_count;  // 0 for a group
    uint64_t written;
    uint32_t chunk_bytes;
    lamina_hdf5_filter filter;
    uint8_t *is_written;  // (chunk_count)
} object;

struct lamina_hdf5_file {
    placement placement;
    hid_t file, link_creation, group_creation;  // negative if not open
    object *objects;  // 0 is the root group
    size_t object_count, object_capacity;
    char message[256];
};

// libhdf5 is often built without its own lock.
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

// Takes the lock and silences the library's own error printing, a setting of each thread.
static void enter(void) {
    pthread_mutex_lock(&library);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5Eclear2(H5E_DEFAULT);
}

static void leave(void) { pthread_mutex_unlock(&library); }

static lamina_hdf5_status library_failure(lamina_hdf5_file *file, const char *attempt) {
    if (file->placement.output_failed) return LAMINA_HDF5_OUTPUT_FAILED;
    lamina_hdf5_describe_error(file->message, sizeof file->message, attempt);
    return LAMINA_HDF5_REFUSED;
}

static lamina_hdf5_status refusal(lamina_hdf5_file *file, const char *reason) {
    lamina_hdf5_describe(file->message, sizeof file->message, "%s", reason);
    return LAMINA_HDF5_REFUSED;
}

// Appends an object that owns `id`, or closes `id`.
static lamina_hdf5_object adopt(lamina_hdf5_file *file, object new, herr_t (*close)(hid_t)) {
    if (file->object_count == file->object_capacity) {
        const size_t capacity = file->object_capacity == 0 ? 32 : 2 * file->object_capacity;
        object *objects = capacity < INT32_MAX ? realloc(file->objects, capacity * sizeof *objects) : NULL;
        if (objects == NULL) {
            close(new.id);
            free(new.is_written);
            return refusal(file, "no memory for another object");
        }
        file->objects = objects;
        file->object_capacity = capacity;
    }
    file->objects[file->object_count] = new;
    return (lamina_hdf5_object)file->object_count++;
}

static object *object_at(lamina_hdf5_file *file, lamina_hdf5_object number) {
    if (file->file < 0 || number < 0 || (size_t)number >= file->object_count) return NULL;
    return &file->objects[number];
}

// Earliest format, 1:1 from whichever version of the library: pinned, since defaults differ between versions.
static int create_file(lamina_hdf5_file *file) {
    const hid_t access = lamina_hdf5_access(&file->placement);
    const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
    int status = -1;
    if (access >= 0 && creation >= 0 && H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0
        && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0
        && H5Pset_userblock(creation, file->placement.user_block_size) >= 0
        && H5Pset_istore_k(creation, LAMINA_HDF5_INDEX_K) >= 0
        && H5Pset_obj_track_times(creation, 0) >= 0) {
        file->file = H5Fcreate("shard", H5F_ACC_TRUNC, creation, access);
        status = file->file < 0 ? -1 : 0;
    }
    if (access >= 0) H5Pclose(access);
    if (creation >= 0) H5Pclose(creation);
    return status;
}

static int open_file(lamina_hdf5_file *file) {
    if (lamina_hdf5_prepare() < 0 || create_file(file) < 0) return -1;
    file->link_creation = H5Pcreate(H5P_LINK_CREATE);
    file->group_creation = H5Pcreate(H5P_GROUP_CREATE);
    if (file->link_creation < 0 || file->group_creation < 0) return -1;
    if (H5Pset_char_encoding(file->link_creation, H5T_CSET_UTF8) < 0) return -1;
    if (H5Pset_obj_track_times(file->group_creation, 0) < 0) return -1;
    const hid_t root = H5Gopen2(file->file, "/", H5P_DEFAULT);
    if (root < 0) return -1;
    return adopt(file, (object){.id = root}, H5Gclose) == LAMINA_HDF5_ROOT ? 0 : -1;
}

// Closes whatever is open; the driver is in memory, so that this cannot fail for want of disk space.
static int close_file(lamina_hdf5_file *file) {
    int status = 0;
    for (size_t i = 0; i < file->object_count; i++) {
        object *o = &file->objects[i];
        if ((o->is_written != NULL ? H5Dclose(o->id) : H5Gclose(o->id)) < 0) status = -1;
        free(o->is_written);
    }
    file->object_count = 0;
    if (file->group_creation >= 0 && H5Pclose(file->group_creation) < 0) status = -1;
    if (file->link_creation >= 0 && H5Pclose(file->link_creation) < 0) status = -1;
    if (file->file >= 0 && H5Fclose(file->file) < 0) status = -1;
    file->group_creation = file->link_creation = file->file = -1;
    return status;
}

lamina_hdf5_file *lamina_hdf5_create(
    lamina_hdf5_output output, uint64_t user_block_size, char *message, size_t message_size) {
    if (user_block_size < 4096 || (user_block_size & (user_block_size - 1)) != 0) {
        lamina_hdf5_describe(message, message_size, "the user block's size must be a power of two of at least 4096");
        return NULL;
    }
    lamina_hdf5_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        lamina_hdf5_describe(message, message_size, "no memory for a file");
        return NULL;
    }
    file->placement.output = output;
    file->placement.user_block_size = user_block_size;
    file->file = file->link_creation = file->group_creation = -1;
    enter();
    const int status = open_file(file);
    if (status < 0) lamina_hdf5_describe_error(message, message_size, "create a file");
    leave();
    if (status == 0) return file;
    lamina_hdf5_discard(file);
    return NULL;
}

static lamina_hdf5_status check_name(lamina_hdf5_file *file, const char *name) {
    if (name[0] == 0 || strcmp(name, ".") == 0 || strchr(name, '/') != NULL) return refusal(file, "not a link name");
    return LAMINA_HDF5_OK;
}

lamina_hdf5_object lamina_hdf5_make_group(lamina_hdf5_file *file, lamina_hdf5_object parent, const char *name) {
    const object *in = object_at(file, parent);
    if (in == NULL || in->is_written != NULL) return refusal(file, "not a group");
    if (check_name(file, name) < 0) return LAMINA_HDF5_REFUSED;
    enter();
    const hid_t id = H5Gcreate2(in->id, name, file->link_creation, file->group_creation, H5P_DEFAULT);
    const lamina_hdf5_object result =
        id < 0 ? (int)library_failure(file, "create a group") : adopt(file, (object){.id = id}, H5Gclose);
    leave();
    return result;
}

static hid_t element_type(lamina_hdf5_element element) {
    switch (element) {
        case LAMINA_HDF5_BYTE: return H5T_STD_U8LE;
        case LAMINA_HDF5_INT32: return H5T_STD_I32LE;
        case LAMINA_HDF5_FLOAT64: return H5T_IEEE_F64LE;
    }
    return -1;
}

static uint32_t element_bytes(lamina_hdf5_element element) {
    return element == LAMINA_HDF5_FLOAT64 ? 8 : element == LAMINA_HDF5_INT32 ? 4 : 1;
}

// The creation properties of a dataset: chunks of so many elements, filter, no fill values, no times. Negative on failure.
static hid_t dataset_creation(hsize_t chunk, lamina_hdf5_filter filter) {
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (creation < 0) return -1;
    if (H5Pset_chunk(creation, 1, &chunk) < 0 || H5Pset_alloc_time(creation, H5D_ALLOC_TIME_INCR) < 0
        || H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER) < 0 || H5Pset_obj_track_times(creation, 0) < 0
        || (filter != LAMINA_HDF5_NO_FILTER && H5Pset_filter(creation, filter, H5Z_FLAG_MANDATORY, 0, NULL) < 0)) {
        H5Pclose(creation);
        return -1;
    }
    return creation;
}

lamina_hdf5_object lamina_hdf5_make_dataset(
    lamina_hdf5_file *file, lamina_hdf5_object parent, const char *name, lamina_hdf5_element element,
    uint64_t total_bytes, uint32_t chunk_bytes, lamina_hdf5_filter filter) {
    const object *in = object_at(file, parent);
    if (in == NULL || in->is_written != NULL) return refusal(file, "not a group");
    if (check_name(file, name) < 0) return LAMINA_HDF5_REFUSED;
    const uint32_t size = element_bytes(element);
    if (chunk_bytes == 0 || total_bytes > INT64_MAX || total_bytes % size != 0 || chunk_bytes % size != 0)
        return refusal(file, "impossible dataset size");
    const uint64_t chunk_count = total_bytes / chunk_bytes + (total_bytes % chunk_bytes != 0);
    // A chunk may not be larger than the largest extent, so the extent may grow to whole chunks.
    const hsize_t extent = total_bytes / size, largest = (chunk_count == 0 ? 1 : chunk_count) * (chunk_bytes / size);
    object new = {.chunk_count = chunk_count, .chunk_bytes = chunk_bytes, .filter = filter};
    new.is_written = calloc(chunk_count + 1, 1);
    if (new.is_written == NULL) return refusal(file, "no memory for a dataset");
    enter();
    const hid_t space = H5Screate_simple(1, &extent, &largest);
    const hid_t creation = dataset_creation(chunk_bytes / size, filter);
    new.id = space < 0 || creation < 0
                 ? -1
                 : H5Dcreate2(
                       in->id, name, element_type(element), space, file->link_creation, creation, H5P_DEFAULT);
    lamina_hdf5_object result;
    if (new.id < 0) {
        free(new.is_written);
        result = library_failure(file, "create a dataset");
    } else {
        result = adopt(file, new, H5Dclose);
        if (result >= 0 && chunk_count > 0) file->placement.reserved += lamina_hdf5_index_bytes(chunk_count);
    }
    if (space >= 0) H5Sclose(space);
    if (creation >= 0) H5Pclose(creation);
    leave();
    return result;
}

// Sets one attribute; takes over `type` and `space`, which may be negative after a failure.
static lamina_hdf5_status set_attribute(
    lamina_hdf5_file *file, lamina_hdf5_object number, const char *name, hid_t type, hid_t space, const void *value) {
    const object *o = object_at(file, number);
    lamina_hdf5_status status = LAMINA_HDF5_OK;
    if (o == NULL) {
        status = refusal(file, "no such object");
    } else {
        const hid_t creation = H5Pcreate(H5P_ATTRIBUTE_CREATE);
        hid_t attribute = -1;
        if (creation >= 0 && type >= 0 && space >= 0 && H5Pset_char_encoding(creation, H5T_CSET_UTF8) >= 0)
            attribute = H5Acreate2(o->id, name, type, space, creation, H5P_DEFAULT);
        if (attribute < 0 || H5Awrite(attribute, type, value) < 0) status = library_failure(file, "set an attribute");
        if (attribute >= 0) H5Aclose(attribute);
        if (creation >= 0) H5Pclose(creation);
    }
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    return status;
}

// A string of a fixed size: one of variable length would live in a heap of its own.
static hid_t text_type(size_t size) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return -1;
    if (H5Tset_size(type, size) < 0 || H5Tset_strpad(type, H5T_STR_NULLPAD) < 0
        || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

lamina_hdf5_status lamina_hdf5_set_text(
    lamina_hdf5_file *file, lamina_hdf5_object object, const char *name, const char *utf8, size_t size) {
    enter();
    // A string of size 0 does not exist in HDF5.
    const lamina_hdf5_status status = set_attribute(
        file, object, name, text_type(size == 0 ? 1 : size), H5Screate(H5S_SCALAR), size == 0 ? "" : utf8);
    leave();
    return status;
}

lamina_hdf5_status lamina_hdf5_set_integer(
    lamina_hdf5_file *file, lamina_hdf5_object object, const char *name, int64_t value) {
    enter();
    const uint64_t bits = (uint64_t)value;
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(bits >> (8 * i));
    const lamina_hdf5_status status =
        set_attribute(file, object, name, H5Tcopy(H5T_STD_I64LE), H5Screate(H5S_SCALAR), bytes);
    leave();
    return status;
}

lamina_hdf5_status lamina_hdf5_set_naturals(
    lamina_hdf5_file *file, lamina_hdf5_object object, const char *name, const uint64_t *values, size_t count) {
    uint8_t *bytes = malloc(8 * count + 1);
    if (bytes == NULL) return refusal(file, "no memory for an attribute");
    for (size_t i = 0; i < 8 * count; i++) bytes[i] = (uint8_t)(values[i / 8] >> (8 * (i % 8)));
    enter();
    const hsize_t extent = count;
    // No values at all is the null dataspace; an array of length 0 cannot be stored in the earliest format everywhere.
    const hid_t space = count == 0 ? H5Screate(H5S_NULL) : H5Screate_simple(1, &extent, NULL);
    const lamina_hdf5_status status = set_attribute(file, object, name, H5Tcopy(H5T_STD_U64LE), space, bytes);
    leave();
    free(bytes);
    return status;
}

lamina_hdf5_status lamina_hdf5_write_chunk(
    lamina_hdf5_file *file, lamina_hdf5_object dataset, uint64_t index, const void *bytes, size_t size,
    uint32_t filter_mask, uint64_t *offset) {
    object *o = object_at(file, dataset);
    if (file->placement.output_failed) return LAMINA_HDF5_OUTPUT_FAILED;
    if (o == NULL || o->is_written == NULL || index >= o->chunk_count) return refusal(file, "no such chunk");
    if (o->is_written[index]) return refusal(file, "the chunk is written already");
    const int is_plain = o->filter == LAMINA_HDF5_NO_FILTER || (filter_mask & LAMINA_HDF5_FILTER_SKIPPED) != 0;
    if (size == 0 || size > UINT32_MAX || (is_plain && size != o->chunk_bytes))
        return refusal(file, "the chunk has not the size its filter calls for");
    const hsize_t start = index * o->chunk_bytes;
    enter();
    file->placement.is_writing_chunk = 1;
    file->placement.chunk_offset = 0;
    lamina_hdf5_status status = LAMINA_HDF5_OK;
    if (H5Dwrite_chunk(o->id, H5P_DEFAULT, filter_mask, &start, size, bytes) < 0) {
        status = library_failure(file, "write a chunk");
    } else if (file->placement.chunk_offset == 0) {
        status = refusal(file, "libhdf5 kept a chunk to itself");
    } else {
        o->is_written[index] = 1;
        o->written += 1;
        *offset = file->placement.chunk_offset;
    }
    file->placement.is_writing_chunk = 0;
    leave();
    return status;
}

lamina_hdf5_status lamina_hdf5_chunk_info(
    lamina_hdf5_file *file, lamina_hdf5_object dataset, uint64_t index, uint64_t *address, uint64_t *size,
    uint32_t *filter_mask) {
    const object *o = object_at(file, dataset);
    if (o == NULL || o->is_written == NULL || index >= o->chunk_count || !o->is_written[index])
        return refusal(file, "no such chunk");
    const hsize_t start = index * o->chunk_bytes;
    haddr_t found_address = HADDR_UNDEF;
    hsize_t found_size = 0;
    unsigned found_mask = 0;
    enter();
    lamina_hdf5_status status = LAMINA_HDF5_OK;
    if (H5Dget_chunk_info_by_coord(o->id, &start, &found_mask, &found_address, &found_size) < 0) {
        status = library_failure(file, "find a chunk");
    } else if (found_address == HADDR_UNDEF) {
        status = refusal(file, "libhdf5 has lost a chunk");
    } else {
        *address = found_address;
        *size = found_size;
        *filter_mask = found_mask;
    }
    leave();
    return status;
}

const char *lamina_hdf5_message(const lamina_hdf5_file *file) { return file->message; }

lamina_hdf5_status lamina_hdf5_finish(lamina_hdf5_file *file, uint64_t *file_size) {
    if (file->placement.output_failed) return LAMINA_HDF5_OUTPUT_FAILED;
    if (file->file < 0) return refusal(file, "the file is finished already");
    for (size_t i = 0; i < file->object_count; i++)
        if (file->objects[i].written < file->objects[i].chunk_count) return refusal(file, "a dataset lacks a chunk");
    enter();
    const lamina_hdf5_status closed = close_file(file) < 0 ? library_failure(file, "close the file") : LAMINA_HDF5_OK;
    leave();
    if (closed != LAMINA_HDF5_OK) return closed;
    if (lamina_hdf5_write_metadata(&file->placement) < 0) return LAMINA_HDF5_OUTPUT_FAILED;
    *file_size = (file->placement.end + 4095) / 4096 * 4096;
    return LAMINA_HDF5_OK;
}

void lamina_hdf5_discard(lamina_hdf5_file *file) {
    if (file == NULL) return;
    enter();
    close_file(file);
    leave();
    free(file->objects);
    lamina_hdf5_free_metadata(&file->placement);
    free(file);
}

int64_t lamina_hdf5_open_objects(void) {
    enter();
    const ssize_t count = H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
    leave();
    return count;
}

void lamina_hdf5_version(char *text, size_t size) {
    unsigned major = 0, minor = 0, release = 0;
    enter();
    H5get_libversion(&major, &minor, &release);
    leave();
    lamina_hdf5_describe(text, size, "%u.%u.%u", major, minor, release);
}
