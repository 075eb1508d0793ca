// Reads a file in each way that read_faults.c disturbs and copies it to standard output: what the faults are tried on
// before they are let loose on Lamina. Repeats reads that were interrupted, continues short ones.
//
//   reader pread|uring|uring-registered|uring-files FILE
//
// Ends with the number of the error, or with 200 where the file ends too early.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 16384, BLOCKS = 4, ENDS_TOO_EARLY = 200 };

static struct io_uring ring;
static _Alignas(4096) unsigned char buffers[BLOCKS][BLOCK];

static int read_with_ring(int file, int slot, size_t done, size_t size, off_t offset, bool buffer_registered,
                          bool file_registered) {
    struct io_uring_sqe *request = io_uring_get_sqe(&ring);
    struct io_uring_cqe *completion;
    unsigned char *place = buffers[slot] + done;
    const unsigned count = (unsigned)(size - done);
    const unsigned long long from = (unsigned long long)offset + done;
    if (buffer_registered) {
        io_uring_prep_read_fixed(request, file, place, count, from, slot);
    } else {
        io_uring_prep_read(request, file, place, count, from);
    }
    if (file_registered) io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(request, (unsigned long long)offset);
    int status = io_uring_submit(&ring);
    if (status < 0) return status;
    status = io_uring_wait_cqe(&ring, &completion);
    if (status < 0) return status;
    status = completion->res;
    io_uring_cqe_seen(&ring, completion);
    return status;
}

static void prepare_ring(int file, bool buffer_registered, bool file_registered) {
    struct iovec places[BLOCKS];
    for (int i = 0; i < BLOCKS; ++i) places[i] = (struct iovec){buffers[i], BLOCK};
    int status = io_uring_queue_init(BLOCKS, &ring, 0);
    if (status == 0 && buffer_registered) status = io_uring_register_buffers(&ring, places, BLOCKS);
    if (status == 0 && file_registered) status = io_uring_register_files(&ring, &file, 1);
    if (status < 0) exit(-status);
}

int main(int argument_count, char **arguments) {
    if (argument_count != 3) return 64;
    const char *mode = arguments[1];
    const bool is_pread = strcmp(mode, "pread") == 0, file_registered = strcmp(mode, "uring-files") == 0;
    const bool buffer_registered = file_registered || strcmp(mode, "uring-registered") == 0;
    const int file = open(arguments[2], O_RDONLY | O_CLOEXEC);
    struct stat facts;
    if (file < 0 || fstat(file, &facts) < 0) return errno;
    if (!is_pread) prepare_ring(file, buffer_registered, file_registered);
    for (off_t offset = 0; offset < facts.st_size; offset += BLOCK) {
        const int slot = (int)(offset / BLOCK % BLOCKS);
        const size_t size = (size_t)(facts.st_size - offset < BLOCK ? facts.st_size - offset : BLOCK);
        for (size_t done = 0; done < size;) {
            ssize_t count = is_pread ? pread(file, buffers[slot] + done, size - done, offset + (off_t)done)
                                     : read_with_ring(file_registered ? 0 : file, slot, done, size, offset,
                                                      buffer_registered, file_registered);
            const int error = count >= 0 ? 0 : is_pread ? errno : (int)-count;
            if (error == EINTR || error == EAGAIN) continue;
            if (error != 0) return error;
            if (count == 0) return ENDS_TOO_EARLY;
            done += (size_t)count;
        }
        if (write(STDOUT_FILENO, buffers[slot], size) != (ssize_t)size) return 1;
    }
    return 0;
}
