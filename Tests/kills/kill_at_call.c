// A library to preload (LD_PRELOAD) that kills the program with SIGKILL right after its n-th call that changes
// something on disk: names and files made, bytes written, synced, cut off, renamed, removed.
//
//   cc -shared -fPIC -O2 -Wall -Wextra -Wconversion kill_at_call.c -o kill_at_call.so -ldl
//
// LAMINA_KILL_PATH   part of the path of the files concerned; without it nothing is done at all
// LAMINA_KILL_AT     n, from 1; 0 kills nobody
// LAMINA_KILL_LOG    the file that gets the number of calls when the program ends by itself
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static const char *part;
static uint64_t last;
static _Atomic uint64_t calls;

__attribute__((constructor)) static void read_environment(void) {
    part = getenv("LAMINA_KILL_PATH");
    const char *at = getenv("LAMINA_KILL_AT");
    last = at ? strtoull(at, NULL, 10) : 0;
}

__attribute__((destructor)) static void write_count(void) {
    const char *path = getenv("LAMINA_KILL_LOG");
    FILE *log = part && path ? fopen(path, "w") : NULL;
    if (!log) return;
    fprintf(log, "%llu\n", (unsigned long long)calls);
    fclose(log);
}

static void count_call(void) {
    if (atomic_fetch_add(&calls, 1) + 1 == last) kill(getpid(), SIGKILL);
}

static void after_path(const char *path) {
    if (part && strstr(path, part)) count_call();
}

static void after_descriptor(int descriptor) {
    if (!part) return;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    after_path(path);
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

// A call with a path or a descriptor first: the real one, then the count.
#define WRAP(result, name, after, parameters, arguments)       \
    result name parameters {                                   \
        static result(*real) parameters;                       \
        if (!real) real = (result(*) parameters)next(#name);   \
        result status = real arguments;                        \
        after;                                                 \
        return status;                                         \
    }

WRAP(int, rename, after_path(to), (const char *from, const char *to), (from, to))
WRAP(int, renameat2, after_path(to), (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags))
WRAP(int, unlink, after_path(path), (const char *path), (path))
WRAP(int, unlinkat, after_descriptor(folder), (int folder, const char *path, int flags), (folder, path, flags))
WRAP(int, mkdir, after_path(path), (const char *path, mode_t mode), (path, mode))
WRAP(int, rmdir, after_path(path), (const char *path), (path))
WRAP(int, fsync, after_descriptor(file), (int file), (file))
WRAP(int, ftruncate, after_descriptor(file), (int file, off_t size), (file, size))
WRAP(int, ftruncate64, after_descriptor(file), (int file, off64_t size), (file, size))
WRAP(ssize_t, pwrite, after_descriptor(file), (int file, const void *bytes, size_t count, off_t offset),
     (file, bytes, count, offset))
WRAP(ssize_t, pwrite64, after_descriptor(file), (int file, const void *bytes, size_t count, off64_t offset),
     (file, bytes, count, offset))

// Opening changes something only where it creates.
static int after_open(int descriptor, int flags) {
    if (descriptor >= 0 && (flags & O_CREAT)) after_descriptor(descriptor);
    return descriptor;
}

static mode_t mode_from(int flags, va_list rest) { return flags & O_CREAT ? va_arg(rest, mode_t) : 0; }

#define WRAP_OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                          \
        va_list rest;                                                                     \
        va_start(rest, flags);                                                            \
        mode_t mode = mode_from(flags, rest);                                             \
        va_end(rest);                                                                     \
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))next(#name); \
        return after_open(real(path, flags, mode), flags);                                \
    }

#define WRAP_OPENAT(name)                                                                           \
    int name(int folder, const char *path, int flags, ...) {                                        \
        va_list rest;                                                                               \
        va_start(rest, flags);                                                                      \
        mode_t mode = mode_from(flags, rest);                                                       \
        va_end(rest);                                                                               \
        int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))next(#name); \
        return after_open(real(folder, path, flags, mode), flags);                                  \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)
