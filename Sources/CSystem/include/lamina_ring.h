// Reads through Linux's io_uring. Opaque: liburing.h in a module map breaks other modules.
#ifndef LAMINA_RING_H
#define LAMINA_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lamina_ring lamina_ring;

// One read.
typedef struct lamina_ring_request {
    int descriptor;
    // The registered slot that `buffer` lies in, -1 for memory that is not registered.
    int slot;
    void *buffer;
    uint64_t offset;
    uint32_t count;
    // Comes back with the completion.
    uint64_t tag;
    // A thread of the kernel's carries out the read: for memory not touched yet, whose pages the submitting thread would
    // otherwise make, and for reads that could not be started without waiting.
    bool may_block;
} lamina_ring_request;

// A ring for `depth` reads in flight; NULL with an errno in `error` where the kernel does not allow it.
lamina_ring *lamina_ring_create(unsigned depth, int *error);
// Pins `slot_count` slots in a row so that reads into them need not; -errno, often for the limit on locked memory.
int lamina_ring_register(lamina_ring *ring, void *memory, size_t slot_bytes, unsigned slot_count);
// Starts a read; safe from several threads. -errno if the kernel would not take it.
int lamina_ring_read(lamina_ring *ring, const lamina_ring_request *request);
// Waits for one read to complete; `result` is its count or -errno. One thread at a time. -errno if waiting failed.
int lamina_ring_wait(lamina_ring *ring, uint64_t *tag, int32_t *result);
// All reads must have completed.
void lamina_ring_destroy(lamina_ring *ring);

#endif
