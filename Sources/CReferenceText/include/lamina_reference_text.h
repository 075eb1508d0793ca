// The text that models are measured with where none is given: docs/perplexity.md says what it is.
#ifndef LAMINA_REFERENCE_TEXT_H
#define LAMINA_REFERENCE_TEXT_H

#include <stddef.h>

// ASCII, *size bytes, without a zero at the end; valid for ever.
const unsigned char *lamina_reference_text(size_t *size);

#endif
