#define _GNU_SOURCE
#include "lamina_ring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>

struct lamina_ring {
    struct io_uring uring;
    // Many threads submit; only one waits, on the other queue, without it.
    pthread_mutex_t submission;
};

lamina_ring *lamina_ring_create(unsigned depth, int *error) {
    lamina_ring *ring = calloc(1, sizeof *ring);
    if (!ring) {
        *error = ENOMEM;
        return NULL;
    }
    const int status = io_uring_queue_init(depth, &ring->uring, 0);
    if (status < 0) {
        *error = -status;
        free(ring);
        return NULL;
    }
    pthread_mutex_init(&ring->submission, NULL);
    return ring;
}

int lamina_ring_register(lamina_ring *ring, void *memory, size_t slot_bytes, unsigned slot_count) {
    struct iovec *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return -ENOMEM;
    for (unsigned slot = 0; slot < slot_count; slot++) {
        slots[slot].iov_base = (char *)memory + slot * slot_bytes;
        slots[slot].iov_len = slot_bytes;
    }
    const int status = io_uring_register_buffers(&ring->uring, slots, slot_count);
    free(slots);
    return status < 0 ? status : 0;
}

// Hands the prepared entry to the kernel. It may lack memory for a moment, which passes as other reads complete.
static int submit(struct io_uring *uring) {
    enum { MOST_ATTEMPTS = 1000 };
    const struct timespec pause = {0, 1000000};
    for (int attempt = 0;; attempt++) {
        const int status = io_uring_submit(uring);
        if (status > 0) return 0;
        if (status == -EINTR) continue;
        const int is_passing = status == 0 || status == -EAGAIN || status == -EBUSY || status == -ENOMEM;
        if (!is_passing || attempt == MOST_ATTEMPTS) return status < 0 ? status : -EBUSY;
        nanosleep(&pause, NULL);
    }
}

int lamina_ring_read(lamina_ring *ring, const lamina_ring_request *request) {
    pthread_mutex_lock(&ring->submission);
    int status = -EBUSY;
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);
    if (entry) {
        if (request->slot >= 0) {
            io_uring_prep_read_fixed(
                entry, request->descriptor, request->buffer, request->count, request->offset, request->slot);
        } else {
            io_uring_prep_read(entry, request->descriptor, request->buffer, request->count, request->offset);
        }
        if (request->may_block) io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
        io_uring_sqe_set_data64(entry, request->tag);
        status = submit(&ring->uring);
    }
    pthread_mutex_unlock(&ring->submission);
    return status;
}

int lamina_ring_wait(lamina_ring *ring, uint64_t *tag, int32_t *result) {
    struct io_uring_cqe *completion = NULL;
    int status;
    // Not io_uring_wait_cqe: that looks into the queue inline, where nothing can be put in between to test failures.
    do status = io_uring_wait_cqe_nr(&ring->uring, &completion, 1);
    while (status == -EINTR || status == -EAGAIN);
    if (status < 0) return status;
    *tag = io_uring_cqe_get_data64(completion);
    *result = completion->res;
    io_uring_cqe_seen(&ring->uring, completion);
    return 0;
}

void lamina_ring_destroy(lamina_ring *ring) {
    if (!ring) return;
    io_uring_queue_exit(&ring->uring);
    pthread_mutex_destroy(&ring->submission);
    free(ring);
}
