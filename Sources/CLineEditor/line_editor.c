// strdup is not in C11 itself.
#define _POSIX_C_SOURCE 200809L

#include "lamina_line_editor.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { REMEMBERED_LINES = 1000 };

struct lamina_line_editor {
    EditLine *edit;
    History *history;
    char *prompt;
};

static char *prompt_of(EditLine *edit) {
    void *client = NULL;
    el_get(edit, EL_CLIENTDATA, &client);
    return ((lamina_line_editor *)client)->prompt;
}

// libedit counts characters by the locale. Only their kind is taken from the environment: numbers stay as they are.
static void use_utf8(void) {
    const char *name = setlocale(LC_CTYPE, "");
    if (name == NULL || (strstr(name, "UTF-8") == NULL && strstr(name, "utf8") == NULL)) setlocale(LC_CTYPE, "C.UTF-8");
}

lamina_line_editor *lamina_line_editor_create(const char *prompt) {
    use_utf8();
    lamina_line_editor *editor = calloc(1, sizeof *editor);
    if (editor == NULL) return NULL;
    editor->prompt = strdup(prompt);
    editor->history = history_init();
    editor->edit = el_init("lamina-run", stdin, stderr, stderr);
    if (editor->prompt == NULL || editor->history == NULL || editor->edit == NULL) {
        lamina_line_editor_destroy(editor);
        return NULL;
    }
    HistEvent event;
    history(editor->history, &event, H_SETSIZE, REMEMBERED_LINES);
    history(editor->history, &event, H_SETUNIQUE, 1);
    el_set(editor->edit, EL_CLIENTDATA, editor);
    el_set(editor->edit, EL_PROMPT, prompt_of);
    el_set(editor->edit, EL_EDITOR, "emacs");
    el_set(editor->edit, EL_HIST, history, editor->history);
    // Signals are the program's.
    el_set(editor->edit, EL_SIGNAL, 0);
    // What the user has set for all programs.
    el_source(editor->edit, NULL);
    return editor;
}

void lamina_line_editor_destroy(lamina_line_editor *editor) {
    if (editor == NULL) return;
    if (editor->edit != NULL) el_end(editor->edit);
    if (editor->history != NULL) history_end(editor->history);
    free(editor->prompt);
    free(editor);
}

int lamina_line_editor_read(lamina_line_editor *editor, const char **line, size_t *length) {
    int count = 0;
    errno = 0;
    *line = el_gets(editor->edit, &count);
    *length = 0;
    if (*line == NULL || count <= 0) {
        if (errno == EINTR) {
            el_reset(editor->edit);
            return LAMINA_LINE_INTERRUPTED;
        }
        return count < 0 && errno != 0 ? LAMINA_LINE_FAILED : LAMINA_LINE_END;
    }
    *length = strlen(*line);
    if (*length > 0 && (*line)[*length - 1] == '\n') --*length;
    return LAMINA_LINE_READ;
}

void lamina_line_editor_remember(lamina_line_editor *editor, const char *line) {
    HistEvent event;
    history(editor->history, &event, H_ENTER, line);
}

void lamina_line_editor_load(lamina_line_editor *editor, const char *path) {
    HistEvent event;
    history(editor->history, &event, H_LOAD, path);
}

void lamina_line_editor_save(lamina_line_editor *editor, const char *path) {
    HistEvent event;
    // What was typed is nobody else's business.
    const mode_t mask = umask(077);
    history(editor->history, &event, H_SAVE, path);
    umask(mask);
}
