// Threads for fork-join of a few microseconds. A run is over when its tasks are, not when the workers have noticed:
// a worker the system has descheduled costs nothing unless it holds a task.
#if defined(__linux__)
#define _GNU_SOURCE  // syscall
#endif

#include "lamina_kernels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum {
    MAXIMUM_THREADS = 1024,
    SPINS = 20000,     // about 0.3 ms: longer than the gap between two runs of a layer, far shorter than a disk wait
    CACHE_LINE = 128,  // two, since neighbours are prefetched in pairs
    INDEX_BITS = 20,
};

static const uint64_t index_mask = (1u << INDEX_BITS) - 1;

// ---- waiting for a word to change -----------------------------------------------------------------------------

// A 32-bit word and the threads asleep on it.
typedef struct wait_word {
    _Alignas(CACHE_LINE) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
#if !defined(__linux__)
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
} wait_word;

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");  // `yield` does nothing on most cores
#endif
}

// Sleeps unless the word no longer holds `seen`; may wake early.
static void wait_word_sleep(wait_word *word, uint32_t seen) {
    // Sequentially consistent against wait_word_wake: either the sleeper sees the new value or the waker the sleeper.
    atomic_fetch_add(&word->sleepers, 1);
#if defined(__linux__)
    syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
#else
    pthread_mutex_lock(&word->mutex);
    while (atomic_load(&word->value) == seen) {
        pthread_cond_wait(&word->changed, &word->mutex);
    }
    pthread_mutex_unlock(&word->mutex);
#endif
    atomic_fetch_sub(&word->sleepers, 1);
}

// After a change of the word: wakes up to `count` sleepers.
static void wait_word_wake(wait_word *word, uint32_t count) {
    if (atomic_load(&word->sleepers) == 0) {
        return;
    }
#if defined(__linux__)
    syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
    (void)count;
    pthread_mutex_lock(&word->mutex);
    pthread_cond_broadcast(&word->changed);
    pthread_mutex_unlock(&word->mutex);
#endif
}

static void wait_word_prepare(wait_word *word) {
    atomic_init(&word->value, 0);
    atomic_init(&word->sleepers, 0);
#if !defined(__linux__)
    pthread_mutex_init(&word->mutex, NULL);
    pthread_cond_init(&word->changed, NULL);
#endif
}

static void wait_word_release(wait_word *word) {
#if defined(__linux__)
    (void)word;
#else
    pthread_cond_destroy(&word->changed);
    pthread_mutex_destroy(&word->mutex);
#endif
}

// ---- the pool -------------------------------------------------------------------------------------------------

typedef struct worker {
    lamina_pool *pool;
    size_t number;
    pthread_t thread;
} worker;

struct lamina_pool {
    // generation:24 | total:20 | next:20. One compare-and-swap claims an index and proves that it belongs to the run
    // whose task was announced: a late worker's stale word no longer matches.
    _Alignas(CACHE_LINE) _Atomic uint64_t work;
    wait_word announced;  // counts runs (and the stop): idle workers sleep on it
    wait_word done;       // counts finished tasks of this run: the caller sleeps on it
    // Written between runs, read only after a claim.
    void (*task)(void *context, size_t index, size_t worker);
    void *context;
    uint64_t generation;
    _Atomic bool stopping;
    size_t threads;  // with the caller
    worker workers[];
};

// Runs claimed tasks until none is left. True if it ran any.
static bool pool_drain(lamina_pool *pool, size_t worker_number) {
    bool ran = false;
    uint64_t word = atomic_load_explicit(&pool->work, memory_order_acquire);
    for (;;) {
        const uint64_t next = word & index_mask;
        const uint64_t total = word >> INDEX_BITS & index_mask;
        if (next >= total) {
            return ran;
        }
        // On failure `word` is reloaded.
        if (!atomic_compare_exchange_weak_explicit(&pool->work, &word, word + 1, memory_order_acq_rel,
                                                   memory_order_acquire)) {
            continue;
        }
        pool->task(pool->context, next, worker_number);
        ran = true;
        if (atomic_fetch_add(&pool->done.value, 1) + 1 == total) {
            wait_word_wake(&pool->done, 1);
        }
        word = atomic_load_explicit(&pool->work, memory_order_acquire);
    }
}

static void *worker_main(void *argument) {
    worker *self = argument;
    lamina_pool *pool = self->pool;
    size_t idle = 0;
    while (!atomic_load_explicit(&pool->stopping, memory_order_acquire)) {
        // Read before looking for work, so that a run announced in between ends the sleep at once.
        const uint32_t seen = atomic_load(&pool->announced.value);
        if (pool_drain(pool, self->number)) {
            idle = 0;
        } else if (idle < SPINS) {
            ++idle;
            pause_briefly();
        } else if (!atomic_load(&pool->stopping)) {
            wait_word_sleep(&pool->announced, seen);
            idle = 0;
        }
    }
    return NULL;
}

// Stops and joins the first `started` workers and frees the pool.
static void pool_stop(lamina_pool *pool, size_t started) {
    atomic_store(&pool->stopping, true);
    atomic_fetch_add(&pool->announced.value, 1);
    wait_word_wake(&pool->announced, MAXIMUM_THREADS);
    for (size_t i = 0; i < started; ++i) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    wait_word_release(&pool->announced);
    wait_word_release(&pool->done);
    free(pool);
}

lamina_pool *lamina_pool_create(size_t threads) {
    if (threads == 0 || threads > MAXIMUM_THREADS) {
        return NULL;
    }
    const size_t size = sizeof(lamina_pool) + (threads - 1) * sizeof(worker);
    lamina_pool *pool = aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (pool == NULL) {
        return NULL;
    }
    atomic_init(&pool->work, 0);
    wait_word_prepare(&pool->announced);
    wait_word_prepare(&pool->done);
    atomic_init(&pool->stopping, false);
    pool->task = NULL;
    pool->context = NULL;
    pool->generation = 0;
    pool->threads = threads;
    for (size_t i = 0; i + 1 < threads; ++i) {
        pool->workers[i].pool = pool;
        pool->workers[i].number = i + 1;
        if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) {
            pool_stop(pool, i);
            return NULL;
        }
    }
    return pool;
}

void lamina_pool_destroy(lamina_pool *pool) {
    if (pool != NULL) {
        pool_stop(pool, pool->threads - 1);
    }
}

size_t lamina_pool_threads(const lamina_pool *pool) {
    return pool->threads;
}

static void pool_join(lamina_pool *pool, uint32_t total) {
    size_t spins = 0;
    for (;;) {
        const uint32_t seen = atomic_load(&pool->done.value);
        if (seen == total) {
            return;
        }
        if (spins < SPINS) {
            ++spins;
            pause_briefly();
        } else {
            wait_word_sleep(&pool->done, seen);
        }
    }
}

void lamina_pool_run(lamina_pool *pool, size_t count, void (*task)(void *context, size_t index, size_t worker),
                     void *context) {
    if (pool->threads == 1 || count <= 1) {
        for (size_t index = 0; index < count; ++index) {
            task(context, index, 0);
        }
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->generation += 1;
    atomic_store_explicit(&pool->done.value, 0, memory_order_relaxed);
    // Releases the three stores above to whoever claims an index. The shift drops all but 24 bits of the generation.
    atomic_store(&pool->work, pool->generation << (2 * INDEX_BITS) | (uint64_t)count << INDEX_BITS);
    atomic_fetch_add(&pool->announced.value, 1);
    wait_word_wake(&pool->announced, (uint32_t)count - 1);
    pool_drain(pool, 0);
    pool_join(pool, (uint32_t)count);
}
