#include "messages.h"

#include <stdarg.h>
#include <stdio.h>

#include <hdf5.h>

void lamina_hdf5_describe(char *message, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, size, format, arguments);
    va_end(arguments);
}

static herr_t keep_innermost(unsigned n, const H5E_error2_t *error, void *reason) {
    (void)n;
    if (error->desc != NULL && error->desc[0] != 0) *(const char **)reason = error->desc;
    return 0;
}

void lamina_hdf5_describe_error(char *message, size_t size, const char *attempt) {
    const char *reason = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_innermost, &reason);
    lamina_hdf5_describe(message, size, "libhdf5 cannot %s: %s", attempt, reason);
}
