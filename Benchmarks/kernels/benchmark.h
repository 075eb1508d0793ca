// What the kernel benchmarks share: time, medians, memory.
#ifndef LAMINA_BENCHMARK_H
#define LAMINA_BENCHMARK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static void *allocate(size_t size) {
    void *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (memory == NULL) {
        fprintf(stderr, "error: no memory for %zu bytes\n", size);
        exit(1);
    }
    memset(memory, 0, size);
    return memory;
}

#endif
