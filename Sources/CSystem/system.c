#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "lamina_system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#ifndef O_DIRECT
#define O_DIRECT 0
#endif

static int result(int value) { return value < 0 ? -errno : value; }

static int open_mode(unsigned flags) {
    int mode = O_CLOEXEC | O_NONBLOCK;
    if (flags & LAMINA_OPEN_READ) mode |= O_RDONLY;
    if (flags & LAMINA_OPEN_WRITE) mode |= O_RDWR;
    if (flags & LAMINA_OPEN_CREATE_NEW) mode |= O_RDWR | O_CREAT | O_EXCL;
    if (flags & LAMINA_OPEN_LOCK_FILE) mode |= O_RDWR | O_CREAT;
    if (flags & LAMINA_OPEN_DIRECT) mode |= O_DIRECT;
    if (flags & LAMINA_OPEN_NO_FOLLOW) mode |= O_NOFOLLOW;
    if (flags & LAMINA_OPEN_DIRECTORY) mode |= O_DIRECTORY;
    return mode;
}

int lamina_open(const char *path, unsigned flags) { return result(open(path, open_mode(flags), 0666)); }

int lamina_open_in(int directory, const char *name, unsigned flags) {
    return result(openat(directory, name, open_mode(flags) | O_NOFOLLOW, 0666));
}

int lamina_close(int descriptor) { return result(close(descriptor)); }

void lamina_set_blocking(int descriptor) {
    const int flags = fcntl(descriptor, F_GETFL);
    if (flags >= 0) fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK);
}

int64_t lamina_read_at(int descriptor, void *buffer, size_t count, uint64_t offset) {
    ssize_t n = pread(descriptor, buffer, count, (off_t)offset);
    return n < 0 ? -errno : n;
}

int64_t lamina_write_at(int descriptor, const void *buffer, size_t count, uint64_t offset) {
    ssize_t n = pwrite(descriptor, buffer, count, (off_t)offset);
    return n < 0 ? -errno : n;
}

int lamina_truncate(int descriptor, uint64_t size) { return result(ftruncate(descriptor, (off_t)size)); }

int lamina_sync(int descriptor) { return result(fsync(descriptor)); }

static void copy_facts(const struct stat *from, lamina_file_facts *to) {
    to->device = (uint64_t)from->st_dev;
    to->inode = (uint64_t)from->st_ino;
    to->size = (uint64_t)from->st_size;
    to->links = (uint64_t)from->st_nlink;
    to->mode = (uint32_t)from->st_mode;
    to->modified_seconds = from->st_mtim.tv_sec;
    to->modified_nanoseconds = from->st_mtim.tv_nsec;
    to->changed_seconds = from->st_ctim.tv_sec;
    to->changed_nanoseconds = from->st_ctim.tv_nsec;
}

int lamina_facts_of_descriptor(int descriptor, lamina_file_facts *facts) {
    struct stat status;
    if (fstat(descriptor, &status) < 0) return -errno;
    copy_facts(&status, facts);
    return 0;
}

int lamina_facts_of_path(const char *path, bool follow, lamina_file_facts *facts) {
    struct stat status;
    if ((follow ? stat(path, &status) : lstat(path, &status)) < 0) return -errno;
    copy_facts(&status, facts);
    return 0;
}

int lamina_facts_in(int directory, const char *name, lamina_file_facts *facts) {
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return -errno;
    copy_facts(&status, facts);
    return 0;
}

int lamina_unlink_in(int directory, const char *name) { return result(unlinkat(directory, name, 0)); }

int64_t lamina_read_link_in(int directory, const char *name, char *buffer, size_t size) {
    const ssize_t count = readlinkat(directory, name, buffer, size);
    return count < 0 ? -errno : count;
}

int lamina_rename_new(const char *from, const char *to) {
#ifdef RENAME_NOREPLACE
    return result(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE));
#else
    (void)from;
    (void)to;
    return -ENOSYS;
#endif
}

int lamina_exchange(const char *first, const char *second) {
#ifdef RENAME_EXCHANGE
    return result(renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE));
#else
    (void)first;
    (void)second;
    return -ENOSYS;
#endif
}

int lamina_rename(const char *from, const char *to) { return result(rename(from, to)); }
int lamina_unlink(const char *path) { return result(unlink(path)); }
int lamina_make_directory(const char *path) { return result(mkdir(path, 0777)); }
int lamina_remove_directory(const char *path) { return result(rmdir(path)); }
int lamina_lock(int descriptor) { return result(flock(descriptor, LOCK_EX | LOCK_NB)); }

int lamina_drop_cache(int descriptor) { return -posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED); }
int lamina_advise_sequential(int descriptor) { return -posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL); }

int lamina_free_bytes(const char *path, uint64_t *bytes) {
    struct statvfs status;
    if (statvfs(path, &status) < 0) return -errno;
    *bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}

int lamina_list_directory(const char *path, void (*entry)(const char *, void *), void *context) {
    DIR *directory = opendir(path);
    if (!directory) return -errno;
    for (;;) {
        errno = 0;
        struct dirent *next = readdir(directory);
        if (!next) break;
        if (strcmp(next->d_name, ".") && strcmp(next->d_name, "..")) entry(next->d_name, context);
    }
    int error = errno;
    closedir(directory);
    return -error;
}

bool lamina_is_regular(uint32_t mode) { return S_ISREG(mode); }
bool lamina_is_directory(uint32_t mode) { return S_ISDIR(mode); }
bool lamina_is_symbolic_link(uint32_t mode) { return S_ISLNK(mode); }

const char *lamina_error_text(int error, char *buffer, size_t size) {
#ifdef __GLIBC__
    return strerror_r(error, buffer, size);
#else
    return strerror_r(error, buffer, size) == 0 ? buffer : "unknown error";
#endif
}

// The number of kilobytes on the first line of a /proc file that begins with `key`, in bytes; 0 if there is none.
static uint64_t kilobytes_from(const char *path, const char *key) {
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    char line[256];
    uint64_t bytes = 0;
    size_t length = strlen(key);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0) {
            bytes = strtoull(line + length, NULL, 10) * 1024;
            break;
        }
    }
    fclose(file);
    return bytes;
}

uint64_t lamina_peak_resident_bytes(void) {
    // Not getrusage: its maximum survives exec, so it can be that of the program that started this one.
    return kilobytes_from("/proc/self/status", "VmHWM:");
}

void lamina_trim_heap(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

uint64_t lamina_available_memory_bytes(void) { return kilobytes_from("/proc/meminfo", "MemAvailable:"); }

uint64_t lamina_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return 0;
    const struct rlimit raised = {limit.rlim_max, limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) < 0 ? limit.rlim_cur : raised.rlim_cur;
}

int lamina_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)count : 1;
}

double lamina_monotonic_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint64_t lamina_random_bits(void) {
    uint64_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
        bits = (uint64_t)(lamina_monotonic_seconds() * 1e9) ^ ((uint64_t)getpid() << 32);
    }
    return bits;
}

static volatile sig_atomic_t caught_signal = 0;

static void note_signal(int number) {
    // A second signal means it: end at once with the default action.
    if (caught_signal != 0) {
        signal(number, SIG_DFL);
        raise(number);
    }
    caught_signal = number;
}

void lamina_signals_interrupt(bool interrupt) {
    struct sigaction action = {0};
    action.sa_handler = note_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = interrupt ? 0 : SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

void lamina_catch_signals(void) {
    lamina_signals_interrupt(false);
    // Some parents start us with these blocked.
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
    // A closed stdout is an error the writer sees (EPIPE), not a silent death; so is a limit on the size of files (EFBIG).
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void lamina_claim_standard_streams(void) {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
        if (fcntl(stream, F_GETFD) >= 0) continue;
        // The wrong way round: reading or writing it still fails, as it does on a closed stream.
        const int descriptor = open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (descriptor != stream && descriptor >= 0) close(descriptor);
    }
}

void lamina_release_signals(void) {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
}

int lamina_caught_signal(void) { return (int)caught_signal; }

void lamina_forget_signal(void) { caught_signal = 0; }
