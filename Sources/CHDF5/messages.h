// What went wrong, in words.
#ifndef LAMINA_HDF5_MESSAGES_H
#define LAMINA_HDF5_MESSAGES_H

#include <stddef.h>

// Fills `message` as printf does, cut off at `size`.
__attribute__((format(printf, 3, 4))) void lamina_hdf5_describe(char *message, size_t size, const char *format, ...);

// Fills `message` with what was tried and the library's innermost reason; under the library's lock.
void lamina_hdf5_describe_error(char *message, size_t size, const char *attempt);

#endif
