#include "lamina_reference_text.h"

// A file beside this one rather than a literal, so that it can be read, compared and given to other programs. Clang
// knows the directive in every standard, but says that it is of a later one.
#pragma clang diagnostic ignored "-Wc23-extensions"
static const unsigned char text[] = {
#embed "reference_text.txt"
};

const unsigned char *lamina_reference_text(size_t *size) {
    *size = sizeof text;
    return text;
}
