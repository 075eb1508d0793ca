// System calls and constants that Swift's importer cannot see or that need _GNU_SOURCE. Opaque values only: no
// kernel or library header may leak into a module map from here.
#ifndef LAMINA_SYSTEM_H
#define LAMINA_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Facts about an open or named file.
typedef struct lamina_file_facts {
    uint64_t device, inode, size, links;
    int64_t modified_seconds, modified_nanoseconds, changed_seconds, changed_nanoseconds;
    uint32_t mode;  // st_mode
} lamina_file_facts;

enum {
    LAMINA_OPEN_READ = 1,
    LAMINA_OPEN_DIRECT = 2,      // O_DIRECT, where the platform has it
    LAMINA_OPEN_CREATE_NEW = 4,  // O_RDWR|O_CREAT|O_EXCL, mode 0666 less the umask
    LAMINA_OPEN_NO_FOLLOW = 8,
    LAMINA_OPEN_DIRECTORY = 16,
    LAMINA_OPEN_LOCK_FILE = 32,  // O_RDWR|O_CREAT
    LAMINA_OPEN_WRITE = 64,      // O_RDWR, an existing file
};

// All return -errno on failure. open adds O_CLOEXEC and O_NONBLOCK (so that a FIFO cannot block; regular files
// ignore it).
int lamina_open(const char *path, unsigned flags);
int lamina_close(int descriptor);
// Takes O_NONBLOCK back; best effort.
void lamina_set_blocking(int descriptor);
int64_t lamina_read_at(int descriptor, void *buffer, size_t count, uint64_t offset);
int64_t lamina_write_at(int descriptor, const void *buffer, size_t count, uint64_t offset);
int lamina_truncate(int descriptor, uint64_t size);
int lamina_sync(int descriptor);
int lamina_facts_of_descriptor(int descriptor, lamina_file_facts *facts);
// follow: stat rather than lstat.
int lamina_facts_of_path(const char *path, bool follow, lamina_file_facts *facts);
int lamina_rename(const char *from, const char *to);
// Fails with EEXIST if there is something called `to`. ENOSYS or EINVAL where the file system cannot tell.
int lamina_rename_new(const char *from, const char *to);
// Both names swap what they name, at once. ENOSYS or EINVAL where the file system cannot.
int lamina_exchange(const char *first, const char *second);
int lamina_unlink(const char *path);
// The same for a name in an open folder; links are not followed.
int lamina_open_in(int directory, const char *name, unsigned flags);
int lamina_facts_in(int directory, const char *name, lamina_file_facts *facts);
int lamina_unlink_in(int directory, const char *name);
// Bytes of a link's target, without a terminator; `size` or more: the buffer was too small.
int64_t lamina_read_link_in(int directory, const char *name, char *buffer, size_t size);
int lamina_make_directory(const char *path);
int lamina_remove_directory(const char *path);
// Exclusive advisory lock (flock), not waiting.
int lamina_lock(int descriptor);
int lamina_drop_cache(int descriptor);
int lamina_advise_sequential(int descriptor);
// Bytes free for an unprivileged user on the file system that holds path.
int lamina_free_bytes(const char *path, uint64_t *bytes);
// Calls `entry` for every name but . and ..
int lamina_list_directory(const char *path, void (*entry)(const char *name, void *context), void *context);

bool lamina_is_regular(uint32_t mode);
bool lamina_is_directory(uint32_t mode);
bool lamina_is_symbolic_link(uint32_t mode);
const char *lamina_error_text(int error, char *buffer, size_t size);

// Peak resident set of this process in bytes, 0 if unknown.
uint64_t lamina_peak_resident_bytes(void);
// Gives memory that was freed back to the system, as far as it is whole pages.
void lamina_trim_heap(void);
// Memory that can be allocated without swapping (MemAvailable), 0 if unknown.
uint64_t lamina_available_memory_bytes(void);
// The smallest memory limit of the cgroups this process is in, version 1 or 2, in bytes; 0 if there is none. `root` is
// /sys/fs/cgroup and `membership` /proc/self/cgroup, but for tests.
uint64_t lamina_cgroup_memory_limit_bytes(const char *root, const char *membership);
// Allows as many open files as the hard limit does: a store has one per layer. The limit now, 0 if unknown.
uint64_t lamina_raise_file_limit(void);
int lamina_processor_count(void);
double lamina_monotonic_seconds(void);
uint64_t lamina_random_bits(void);

// Opens what is closed of standard input, output and error, so that no other file gets their numbers and what is meant
// for a person.
void lamina_claim_standard_streams(void);
// Ctrl-C and friends: handlers only note the signal; the program ends at its next safe point.
void lamina_catch_signals(void);
// The first signal caught, 0 if none.
int lamina_caught_signal(void);
// Leaves signals to the system again: they end the program.
void lamina_release_signals(void);
// Forgets it: the next one is the first again.
void lamina_forget_signal(void);
// Whether a system call that waits ends with EINTR when a signal is caught (false at first: it goes on).
void lamina_signals_interrupt(bool interrupt);

#endif
