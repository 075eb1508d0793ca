// strdup is not in C11 itself.
#define _POSIX_C_SOURCE 200809L

#include "lamina_line_editor.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "lamina_system.h"

enum {
    REMEMBERED_LINES = 1000,
    // How long a signal that came just before the wait for a key, or to another thread, goes unnoticed.
    WAIT_MILLISECONDS = 100,
};

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

// libedit's own waits in read(), which a signal that comes a moment earlier does not end. 1 for a key, 0 for the end, -1
// with EINTR for a signal.
static int read_key(EditLine *edit, wchar_t *key) {
    (void)edit;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    mbstate_t state = {0};
    while (true) {
        if (lamina_caught_signal() != 0) {
            errno = EINTR;
            return -1;
        }
        const int ready = poll(&input, 1, WAIT_MILLISECONDS);
        if (ready == 0) continue;
        if (ready < 0) return -1;
        char byte = 0;
        const ssize_t count = read(STDIN_FILENO, &byte, 1);
        if (count <= 0) return (int)count;
        const size_t used = mbrtowc(key, &byte, 1, &state);
        if (used <= 1) return 1;
        // (size_t)-2 is a character that goes on; bytes that are none are dropped.
        if (used == (size_t)-1) state = (mbstate_t){0};
    }
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
    el_set(editor->edit, EL_GETCFN, read_key);
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
    // Before the prompt appears, or the terminal would show keys that come right behind it a second time.
    el_set(editor->edit, EL_PREP_TERM, 1);
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
