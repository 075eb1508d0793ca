// Lines edited at a terminal, with a history: libedit behind plain functions, since its own take variable arguments and
// stdio streams.
#ifndef LAMINA_LINE_EDITOR_H
#define LAMINA_LINE_EDITOR_H

#include <stddef.h>

typedef struct lamina_line_editor lamina_line_editor;

// Reads from standard input and draws on standard error, so that standard output has results only. Both must be
// terminals. The prompt is copied. NULL if memory is short.
lamina_line_editor *lamina_line_editor_create(const char *prompt);
void lamina_line_editor_destroy(lamina_line_editor *editor);

enum {
    LAMINA_LINE_READ = 1,
    LAMINA_LINE_END = 0,
    // A signal was caught, in which case what was typed is gone.
    LAMINA_LINE_INTERRUPTED = -1,
    // errno says why.
    LAMINA_LINE_FAILED = -2,
};

// The next line without its line feed, which stays valid until the next call.
int lamina_line_editor_read(lamina_line_editor *editor, const char **line, size_t *length);

// Adds a line to the history.
void lamina_line_editor_remember(lamina_line_editor *editor, const char *line);
// The history of earlier sessions; a file that cannot be read or written changes nothing.
void lamina_line_editor_load(lamina_line_editor *editor, const char *path);
void lamina_line_editor_save(lamina_line_editor *editor, const char *path);

#endif
