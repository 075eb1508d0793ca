#define _GNU_SOURCE
#include "lamina_system.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The number in a control file; UINT64_MAX if there is none or it says "max".
static uint64_t limit_in(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    char text[64] = "";
    if (!fgets(text, sizeof text, file)) text[0] = 0;
    fclose(file);
    char *end = text;
    unsigned long long value = strtoull(text, &end, 10);
    return end == text ? UINT64_MAX : value;
}

// The smallest limit of `group` and the groups around it: each bounds those inside. Inside a container the group's own
// path is often not there, but its root is.
static uint64_t smallest_limit(const char *hierarchy, const char *group, const char *name) {
    char folder[PATH_MAX], path[PATH_MAX + 64];
    uint64_t smallest = UINT64_MAX;
    if (snprintf(folder, sizeof folder, "%s%s", hierarchy, group) >= (int)sizeof folder) return smallest;
    const size_t root = strlen(hierarchy);
    for (;;) {
        snprintf(path, sizeof path, "%s/%s", folder, name);
        const uint64_t limit = limit_in(path);
        if (limit < smallest) smallest = limit;
        if (strlen(folder) <= root) return smallest;
        char *slash = strrchr(folder, '/');
        *(slash < folder + root ? folder + root : slash) = 0;
    }
}

uint64_t lamina_cgroup_memory_limit_bytes(const char *root, const char *membership) {
    FILE *file = fopen(membership, "re");
    if (!file) return 0;
    char line[PATH_MAX + 256], hierarchy[PATH_MAX];
    uint64_t smallest = UINT64_MAX;
    // Lines are number:controllers:path; version 2 has no controllers.
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        const bool is_second = controllers[0] == 0;
        if (!is_second && strcmp(controllers, "memory") != 0) continue;
        snprintf(hierarchy, sizeof hierarchy, "%s%s", root, is_second ? "" : "/memory");
        const uint64_t limit =
            smallest_limit(hierarchy, strcmp(group, "/") ? group : "", is_second ? "memory.max" : "memory.limit_in_bytes");
        if (limit < smallest) smallest = limit;
    }
    fclose(file);
    // Version 1 says "no limit" with a number near the largest.
    return smallest >= (uint64_t)1 << 60 ? 0 : smallest;
}
