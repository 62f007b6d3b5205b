// Stands for gcc in a whole build and records each of its compiles: its object, its list of files, its messages, its CPU time.
//
// Called as any compiler is; runs /usr/bin/gcc or g++ with the same arguments. With -c or -S, and -o, and KILN_BENCH_RECORDING set to a
// directory, appends to that recording (crates/kiln-bench/src/recording.rs tells the format). Files are copied after the compile,
// before anything else in the build can change them.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flags.h"

extern char **environ;

// Longest file name looked at.
enum { PATH_BYTES = 4096 };

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

static void copy(const char *from, const char *to) {
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    char buffer[1 << 16];
    ssize_t got;
    while (in >= 0 && (got = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, got) != got)
            exit(120);
    close(in);
    close(out);
}

static void show(const char *path) {
    char buffer[1 << 16];
    int in = open(path, O_RDONLY);
    ssize_t got;
    while ((got = read(in, buffer, sizeof buffer)) > 0)
        if (write(2, buffer, got) != got)
            exit(120);
    close(in);
}

int main(int argc, char **argv) {
    const char *real = ends_with(argv[0], "++") ? "/usr/bin/g++" : "/usr/bin/gcc", *recording = getenv("KILN_BENCH_RECORDING");
    const char *object = NULL, *source = NULL, *list = NULL;
    int compiles = 0, other = 0;
    for (int n = 1; n < argc; n++) {
        const char *word = argv[n];
        if (!strcmp(word, "-o") && n + 1 < argc)
            object = argv[++n];
        else if (!strcmp(word, "-MF") && n + 1 < argc)
            list = argv[++n];
        else if (!strncmp(word, "-Wp,-MMD,", 9) || !strncmp(word, "-Wp,-MD,", 8))
            list = strchr(word + 4, ',') + 1;
        else if (!strcmp(word, "-c") || !strcmp(word, "-S"))
            compiles = 1;
        else if (!strcmp(word, "-E") || !strcmp(word, "-"))
            other = 1;
        else if (*word != '-' && (ends_with(word, ".c") || ends_with(word, ".cc") || ends_with(word, ".cpp") || ends_with(word, ".S")))
            source = word;
    }
    argv[0] = (char *)real;
    if (!compiles || other || !object || !source || !recording || strstr(object, "/dev/null")) {
        execv(real, argv);
        return 127;
    }
    char cwd[PATH_BYTES], path[PATH_BYTES], line[8 * PATH_BYTES];
    if (!getcwd(cwd, sizeof cwd))
        return 120;
    // The record's number: a hash of the object's path, so that a file compiled again replaces itself.
    uint64_t number = hash_text(hash_text(HASH_START, cwd), object);
    snprintf(path, sizeof path, "%s/%016llx.err", recording, (unsigned long long)number);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t pid;
    int status;
    struct rusage used;
    if (posix_spawn(&pid, real, &actions, NULL, argv, environ) || wait4(pid, &status, 0, &used) != pid)
        return 120;
    show(path);
    if (status)
        return WIFEXITED(status) ? WEXITSTATUS(status) : 120;
    long cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    snprintf(path, sizeof path, "%s/%016llx.0", recording, (unsigned long long)number);
    copy(object, path);
    int length = snprintf(line, sizeof line, "%016llx\t%ld\t%s\t%s\t%016llx\t%s", (unsigned long long)number, cpu, cwd, source,
                          (unsigned long long)hash_flags(argc, argv), object);
    if (list) {
        snprintf(path, sizeof path, "%s/%016llx.1", recording, (unsigned long long)number);
        copy(list, path);
        length += snprintf(line + length, sizeof line - length, "\t%s", list);
    }
    line[length++] = '\n';
    snprintf(path, sizeof path, "%s/index", recording);
    int index = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    return write(index, line, length) == length ? 0 : 120;
}
