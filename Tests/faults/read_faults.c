// A library to preload (LD_PRELOAD) that disturbs a program's reads of some files, as a bad disk, cable or kernel
// would: positioned reads (pread), and io_uring's by programs that use liburing. It logs all reads of these files.
//
//   cc -shared -fPIC -O2 -Wall -Wextra -Wconversion read_faults.c -o read_faults.so -ldl -lpthread
//
// LAMINA_FAULT_PATH    part of the path of the files concerned; without it nothing is done at all
// LAMINA_FAULT_KIND    none (the default), or what happens to a read:
//                        eio, eintr, eagain   it fails with this error
//                        short                it returns fewer bytes than there are (reads of 8 KiB and more only)
//                        end                  the file seems to end at the offset below
//                        flip                 bits of the byte at the offset below are flipped
// LAMINA_FAULT_OFFSET  only reads of this byte of the file count
// LAMINA_FAULT_NUMBER  the first of these that is disturbed, from 1
// LAMINA_FAULT_COUNT   how many in a row are; 0 for all that follow
// LAMINA_FAULT_MASK    the bits to flip
// LAMINA_FAULT_LOG     the file that gets a line per read: "-" or "disturbed", offset, size, path
//
// Reads through io_uring (IORING_OP_READ and READ_FIXED) are changed when they are submitted, because programs take
// completions out of memory shared with the kernel, where nobody can step in between: an error is a no-operation with
// that result; flipped bytes come from a copy in memory that the read is redirected to.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>
#if __has_include(<liburing.h>)
#include <liburing.h>
#define HAS_URING 1
#endif

enum { PAGE = 4096 };

typedef enum fault_kind { FAULT_NONE, FAULT_ERROR, FAULT_SHORT, FAULT_END, FAULT_FLIP } fault_kind;

static struct {
    const char *path;
    fault_kind kind;
    int error;
    uint64_t offset, number, count;
    uint8_t mask;
    int log;
    pthread_mutex_t lock;
    uint64_t seen;  // reads that count so far
} fault = {.log = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t number_from(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

__attribute__((constructor)) static void read_environment(void) {
    static const struct {
        const char *name;
        fault_kind kind;
        int error;
    } kinds[] = {{"none", FAULT_NONE, 0},          {"eio", FAULT_ERROR, EIO},    {"eintr", FAULT_ERROR, EINTR},
                 {"eagain", FAULT_ERROR, EAGAIN}, {"short", FAULT_SHORT, 0}, {"end", FAULT_END, 0},
                 {"flip", FAULT_FLIP, 0}};
    fault.path = getenv("LAMINA_FAULT_PATH");
    const char *kind = getenv("LAMINA_FAULT_KIND");
    for (size_t i = 0; kind && i < sizeof kinds / sizeof *kinds; ++i) {
        if (strcmp(kind, kinds[i].name) == 0) {
            fault.kind = kinds[i].kind;
            fault.error = kinds[i].error;
        }
    }
    fault.offset = number_from("LAMINA_FAULT_OFFSET", 0);
    fault.number = number_from("LAMINA_FAULT_NUMBER", 1);
    fault.count = number_from("LAMINA_FAULT_COUNT", 0);
    fault.mask = (uint8_t)number_from("LAMINA_FAULT_MASK", 255);
    const char *log = getenv("LAMINA_FAULT_LOG");
    if (log) fault.log = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

// The path of an open file; false if it is none of those concerned.
static bool is_concerned(int descriptor, char path[PATH_MAX]) {
    if (!fault.path) return false;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return false;
    path[length] = 0;
    return strstr(path, fault.path) != NULL;
}

// Half of a read, in whole pages, so that a direct read can go on where it ends.
static size_t shortened(size_t size) { return size / 2 / PAGE * PAGE; }

static bool counts(uint64_t offset, size_t size) {
    return offset <= fault.offset && fault.offset < offset + size &&
           (fault.kind != FAULT_SHORT || shortened(size) > 0);
}

// Whether this read is to be disturbed. Logs it.
static bool is_disturbed(const char *path, uint64_t offset, size_t size) {
    pthread_mutex_lock(&fault.lock);
    bool disturbed = false;
    if (fault.kind != FAULT_NONE) {
        const bool is_counted = counts(offset, size);
        if (is_counted) ++fault.seen;
        const bool is_due =
            fault.seen >= fault.number && (fault.count == 0 || fault.seen - fault.number < fault.count);
        // A file that has become shorter is so for every read behind its end.
        disturbed = is_due && (is_counted || (fault.kind == FAULT_END && offset + size > fault.offset));
    }
    if (fault.log >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %llu %zu %s\n", disturbed ? "disturbed" : "-",
                              (unsigned long long)offset, size, path);
        if (write(fault.log, line, (size_t)length) != length) abort();
    }
    pthread_mutex_unlock(&fault.lock);
    return disturbed;
}

// Bytes that a read returns which is short or reaches behind the end.
static size_t remaining(uint64_t offset, size_t size) {
    if (fault.kind == FAULT_SHORT) return shortened(size);
    return offset < fault.offset ? (size_t)(fault.offset - offset) : 0;
}

typedef ssize_t (*pread_function)(int, void *, size_t, off64_t);

static ssize_t read_with_faults(pread_function real, int descriptor, void *buffer, size_t size, off64_t offset) {
    char path[PATH_MAX];
    if (!is_concerned(descriptor, path) || !is_disturbed(path, (uint64_t)offset, size)) {
        return real(descriptor, buffer, size, offset);
    }
    if (fault.kind == FAULT_ERROR) {
        errno = fault.error;
        return -1;
    }
    if (fault.kind != FAULT_FLIP) {
        size_t rest = remaining((uint64_t)offset, size);
        return rest == 0 ? 0 : real(descriptor, buffer, rest, offset);
    }
    ssize_t count = real(descriptor, buffer, size, offset);
    uint64_t place = fault.offset - (uint64_t)offset;
    if (count > 0 && place < (uint64_t)count) ((uint8_t *)buffer)[place] ^= fault.mask;
    return count;
}

ssize_t pread(int descriptor, void *buffer, size_t size, off_t offset) {
    static pread_function real;
    if (!real) real = (pread_function)dlsym(RTLD_NEXT, "pread64");
    return read_with_faults(real, descriptor, buffer, size, offset);
}

ssize_t pread64(int descriptor, void *buffer, size_t size, off64_t offset) {
    return pread(descriptor, buffer, size, offset);
}

#ifdef HAS_URING

enum { MOST_RINGS = 64, MOST_PLANTED = 256 };
#define NOP_INJECTS_RESULT 1u  // IORING_NOP_INJECT_RESULT of Linux 6.10

// Files registered with a ring, which requests name by index.
static struct {
    int ring;
    unsigned count;
    char **paths;
} tables[MOST_RINGS];

static void note_files(const struct io_uring *ring, unsigned first, const int *files, unsigned count) {
    pthread_mutex_lock(&fault.lock);
    size_t at = 0;
    while (at < MOST_RINGS - 1 && tables[at].paths && tables[at].ring != ring->ring_fd) ++at;
    if (first + count > tables[at].count || !tables[at].paths) {
        tables[at].paths = reallocarray(tables[at].paths, first + count, sizeof *tables[at].paths);
        if (!tables[at].paths) abort();
        for (unsigned i = tables[at].count; i < first + count; ++i) tables[at].paths[i] = NULL;
        tables[at].count = first + count;
    }
    tables[at].ring = ring->ring_fd;
    for (unsigned i = 0; i < count; ++i) {
        char path[PATH_MAX];
        tables[at].paths[first + i] = files[i] >= 0 && is_concerned(files[i], path) ? strdup(path) : NULL;
    }
    pthread_mutex_unlock(&fault.lock);
}

static bool is_registered(const struct io_uring *ring, int index, char path[PATH_MAX]) {
    for (size_t i = 0; i < MOST_RINGS && tables[i].paths; ++i) {
        if (tables[i].ring != ring->ring_fd || (unsigned)index >= tables[i].count) continue;
        if (!tables[i].paths[index]) return false;
        snprintf(path, PATH_MAX, "%s", tables[i].paths[index]);
        return true;
    }
    return false;
}

// A file in memory with the bytes of [offset, offset + size) at their offset, one of them wrong. It stays open: nobody
// here learns when the read has ended.
static int flipped_copy(const char *path, uint64_t offset, size_t size) {
    int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("flipped", MFD_CLOEXEC);
    uint8_t *bytes = malloc(size);
    if (from < 0 || to < 0 || !bytes) abort();
    pread_function real = (pread_function)dlsym(RTLD_NEXT, "pread64");
    ssize_t count = real(from, bytes, size, (off64_t)offset);
    if (count > (ssize_t)(fault.offset - offset)) bytes[fault.offset - offset] ^= fault.mask;
    if (count < 0 || pwrite(to, bytes, (size_t)count, (off_t)offset) != count) abort();
    free(bytes);
    close(from);
    return to;
}

// Requests that were replaced by no-operations, and what they are to return.
typedef struct planted {
    size_t count;
    uint64_t user_data[MOST_PLANTED];
    int result[MOST_PLANTED];
} planted;

static void plant(struct io_uring_sqe *request, int result, planted *list) {
    const uint64_t user_data = request->user_data;
    memset(request, 0, sizeof *request);
    request->opcode = IORING_OP_NOP;
    request->fd = -1;
    request->user_data = user_data;
    // Zero needs no help; older kernels ignore the flag and give zero, which put_results mends.
    if (result == 0) return;
    request->rw_flags = (int)NOP_INJECTS_RESULT;
    request->len = (uint32_t)result;
    if (list->count == MOST_PLANTED) abort();
    list->user_data[list->count] = user_data;
    list->result[list->count++] = result;
}

static void disturb(struct io_uring *ring, struct io_uring_sqe *request, planted *list) {
    char path[PATH_MAX];
    if (request->opcode != IORING_OP_READ && request->opcode != IORING_OP_READ_FIXED) return;
    const bool is_index = request->flags & IOSQE_FIXED_FILE;
    if (!(is_index ? is_registered(ring, request->fd, path) : is_concerned(request->fd, path))) return;
    if (!is_disturbed(path, request->off, request->len)) return;
    if (fault.kind == FAULT_ERROR) return plant(request, -fault.error, list);
    if (fault.kind == FAULT_FLIP) {
        request->fd = flipped_copy(path, request->off, request->len);
        request->flags &= (uint8_t)~IOSQE_FIXED_FILE;
        return;
    }
    size_t rest = remaining(request->off, request->len);
    if (rest == 0) return plant(request, 0, list);
    request->len = (uint32_t)rest;
}

// Looks through what has been prepared and not yet been shown to the kernel.
static void disturb_new(struct io_uring *ring, planted *list) {
    list->count = 0;
    if (!fault.path) return;
    const unsigned shift = ring->flags & IORING_SETUP_SQE128 ? 1 : 0;
    for (unsigned at = ring->sq.sqe_head; at != ring->sq.sqe_tail; ++at) {
        disturb(ring, &ring->sq.sqes[(at & ring->sq.ring_mask) << shift], list);
    }
}

static void put_results(struct io_uring *ring, const planted *list) {
    unsigned head;
    struct io_uring_cqe *completion;
    for (size_t i = 0; i < list->count; ++i) {
        io_uring_for_each_cqe(ring, head, completion) {
            if (completion->user_data == list->user_data[i] && completion->res == 0) completion->res = list->result[i];
        }
    }
}

int io_uring_submit(struct io_uring *ring) {
    static int (*real)(struct io_uring *);
    if (!real) real = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit");
    planted list;
    disturb_new(ring, &list);
    int status = real(ring);
    put_results(ring, &list);
    return status;
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait) {
    static int (*real)(struct io_uring *, unsigned);
    if (!real) real = (int (*)(struct io_uring *, unsigned))dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
    planted list;
    disturb_new(ring, &list);
    int status = real(ring, wait);
    put_results(ring, &list);
    return status;
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **completion, unsigned wait,
                                     struct __kernel_timespec *time, sigset_t *mask) {
    typedef int (*function)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *,
                            sigset_t *);
    static function real;
    if (!real) real = (function)dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout");
    planted list;
    disturb_new(ring, &list);
    int status = real(ring, completion, wait, time, mask);
    put_results(ring, &list);
    return status;
}

int io_uring_submit_and_get_events(struct io_uring *ring) {
    static int (*real)(struct io_uring *);
    if (!real) real = (int (*)(struct io_uring *))dlsym(RTLD_NEXT, "io_uring_submit_and_get_events");
    planted list;
    disturb_new(ring, &list);
    int status = real(ring);
    put_results(ring, &list);
    return status;
}

int io_uring_register_files(struct io_uring *ring, const int *files, unsigned count) {
    static int (*real)(struct io_uring *, const int *, unsigned);
    if (!real) real = (int (*)(struct io_uring *, const int *, unsigned))dlsym(RTLD_NEXT, "io_uring_register_files");
    note_files(ring, 0, files, count);
    return real(ring, files, count);
}

int io_uring_register_files_update(struct io_uring *ring, unsigned first, const int *files, unsigned count) {
    typedef int (*function)(struct io_uring *, unsigned, const int *, unsigned);
    static function real;
    if (!real) real = (function)dlsym(RTLD_NEXT, "io_uring_register_files_update");
    note_files(ring, first, files, count);
    return real(ring, first, files, count);
}

#endif
