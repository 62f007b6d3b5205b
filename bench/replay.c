// Stands for the compiler of a peer's server: answers with what gcc gave, at once or after the time that gcc took.
//
// Compiled with -DRECORDING="dir", the directory of a recording (crates/kiln-bench/src/recording.rs tells the format), and where
// wanted -DSLEEP (take the recorded time) and -DEMPTY (empty objects). Called as any compiler is: the unit is known by its source
// among the arguments, or by the first line marker of the preprocessed text that it reads, from a file or from standard input.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flags.h"

// Longest file name looked at.
enum { PATH_BYTES = 4096 };

static void die(const char *what, const char *of) {
    fprintf(stderr, "replay: %s: %s\n", what, of);
    exit(1);
}

// All of a file or stream, a zero byte after it.
static char *slurp(int fd, size_t *size) {
    size_t room = 1 << 20, used = 0;
    char *data = malloc(room + 1);
    for (;;) {
        ssize_t got = read(fd, data + used, room - used);
        if (got <= 0)
            break;
        used += got;
        if (used == room)
            data = realloc(data, (room *= 2) + 1);
    }
    data[used] = 0;
    *size = used;
    return data;
}

static void copy(const char *from, int to) {
    int fd = open(from, O_RDONLY);
    if (fd < 0)
        die("cannot open", from);
    size_t size;
    char *data = slurp(fd, &size);
    close(fd);
    for (char *at = data; size;) {
        ssize_t done = write(to, at, size);
        if (done <= 0)
            die("cannot write", from);
        at += done;
        size -= done;
    }
    free(data);
}

static void deliver(const char *number, const char *suffix, const char *to) {
    char from[PATH_BYTES];
    snprintf(from, sizeof from, RECORDING "/%s.%s", number, suffix);
    int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0)
        die("cannot create", to);
#ifdef EMPTY
    if (strcmp(suffix, "0"))
#endif
        copy(from, fd);
    close(fd);
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

// Whether the argument names the recorded source; a server may have put a directory before an absolute one, a client its own before
// another.
static int same_source(const char *argument, const char *directory, const char *source) {
    size_t length = strlen(directory);
    if (*source == '/' || !strcmp(argument, source))
        return ends_with(argument, source);
    return !strncmp(argument, directory, length) && argument[length] == '/' && !strcmp(argument + length + 1, source);
}

// The name in the first line marker of preprocessed text.
static const char *marked_source(int fd) {
    static char name[PATH_BYTES];
    size_t size;
    char *text = slurp(fd, &size), *begin, *end;
    if (*text == '#' && (begin = strchr(text, '"')) && (end = strchr(begin + 1, '"')) && end - begin < PATH_BYTES)
        snprintf(name, sizeof name, "%.*s", (int)(end - begin - 1), begin + 1);
    free(text);
    return name;
}

// Becomes the compiler itself, where there is one: in icecc's tarball this program has its name.
static void run_real(char **argv) {
    const char *real = ends_with(argv[0], "++") ? "/usr/bin/g++" : "/usr/bin/gcc";
    if (!getenv("KILN_BENCH_REPLAYS")) {
        setenv("KILN_BENCH_REPLAYS", "1", 1);
        // It finds its parts by this name.
        argv[0] = (char *)real;
        execv(real, argv);
    }
    die("not recorded, and there is no compiler", argv[0]);
}

int main(int argc, char **argv) {
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    const char *object = NULL, *dependencies = NULL, *text = NULL;
    int from_stdin = 0, compiles = 0;
    for (int n = 1; n < argc; n++) {
        if (!strcmp(argv[n], "-o") && n + 1 < argc)
            object = argv[++n];
        else if (!strcmp(argv[n], "-MF") && n + 1 < argc)
            dependencies = argv[++n];
        else if (!strcmp(argv[n], "-c") || !strcmp(argv[n], "-S"))
            compiles = 1;
        else if (!strcmp(argv[n], "-"))
            from_stdin = 1;
        else if (ends_with(argv[n], ".i") || ends_with(argv[n], ".ii"))
            text = argv[n];
    }
    // A question about the compiler.
    if (!compiles || !object)
        run_real(argv);
    const char *source = NULL;
    if (text || from_stdin) {
        int fd = text ? open(text, O_RDONLY) : 0;
        source = marked_source(fd);
    }
    int index = open(RECORDING "/index", O_RDONLY);
    if (index < 0)
        die("cannot open", RECORDING "/index");
    size_t size;
    char *line = slurp(index, &size), *number = NULL, *cpu_us = NULL, *lists = NULL, own_flags[17];
    snprintf(own_flags, sizeof own_flags, "%016llx", (unsigned long long)hash_flags(argc, argv));
    for (char *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        // Number, CPU time, directory, source, flags, object, list of files.
        char *fields[7] = {NULL};
        for (int n = 0; n < 7; n++)
            fields[n] = strsep(&line, "\t");
        if (!fields[5])
            continue;
        int found = source && same_source(source, fields[2], fields[3]);
        for (int n = 1; n < argc && !source; n++)
            found |= same_source(argv[n], fields[2], fields[3]);
        int same_flags = !strcmp(fields[4], own_flags);
        // A source may be compiled in several ways; the flags tell which.
        if (found && (!number || same_flags)) {
            number = fields[0], cpu_us = fields[1], lists = fields[6];
            if (same_flags)
                break;
        }
    }
    // A probe of the build's is not recorded, for its source is no file of the project; standard input was read already.
    if (!number && from_stdin)
        die("no recorded compile of", source);
    if (!number)
        run_real(argv);
#ifdef SLEEP
    start.tv_nsec += atol(cpu_us) % 1000000 * 1000;
    start.tv_sec += atol(cpu_us) / 1000000 + start.tv_nsec / 1000000000;
    start.tv_nsec %= 1000000000;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL);
#else
    (void)cpu_us;
#endif
    char errors[PATH_BYTES];
    snprintf(errors, sizeof errors, RECORDING "/%s.err", number);
    copy(errors, 2);
    if (dependencies && lists)
        deliver(number, "1", dependencies);
    deliver(number, "0", object);
    return 0;
}
