/* Stands in for a compiler, first in PATH: notes the call in SHIM_LOG and becomes the next command of its name. Knows nothing of kiln.
 *
 * A record is the working directory, the name and the arguments, each ended by a NUL, then "\1\n". Called as `launch`, it becomes
 * the command that its arguments are. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note(const char *log, char **words) {
    char cwd[PATH_MAX] = "";
    if (!getcwd(cwd, sizeof cwd))
        cwd[0] = 0;
    size_t length = strlen(cwd) + 3;
    for (char **word = words; *word; word++)
        length += strlen(*word) + 1;
    char *record = malloc(length), *end = record;
    if (!record)
        exit(127);
    end = stpcpy(end, cwd) + 1;
    for (char **word = words; *word; word++)
        end = stpcpy(end, *word) + 1;
    memcpy(end, "\1\n", 2);
    int file = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || write(file, record, length) != (ssize_t)length)
        exit(127);
    close(file);
    free(record);
}

int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    const char *log = getenv("SHIM_LOG"), *own = getenv("SHIM_DIR"), *path = getenv("PATH");
    if (!strcmp(name, "launch")) {
        if (log)
            note(log, argv + 1);
        execvp(argv[1], argv + 1);
        return 127;
    }
    if (log)
        note(log, argv);
    char *rest = strdup(path ? path : "/usr/bin:/bin"), *dir;
    while ((dir = strsep(&rest, ":"))) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%s/%s", dir, name);
        if ((own && !strcmp(dir, own)) || access(file, X_OK))
            continue;
        argv[0] = file;
        execv(file, argv);
    }
    fprintf(stderr, "shim: no %s in PATH\n", name);
    return 127;
}
