// Runs commands, so many at once, and tells what each took: drive JOBS LIST LOG. Knows no tool.
//
// LIST holds for each command its directory, its words and an empty word, each ended by a zero byte. LOG gets what the commands
// print. On stdout: for each command a line of its number, wait status, CPU microseconds with all children it waited for, and
// wall microseconds from its start; at the end "all" and the wall microseconds of the whole.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { JOBS_MAX = 1024 };
static struct running {
    pid_t pid;
    long number;
    double start;
} running[JOBS_MAX];

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

// Starts the command whose words begin at `at`; returns where the next one begins.
static char *start(char *at, long number, struct running *slot, const char *log) {
    static char **words;
    static size_t room;
    size_t count = 0;
    char *directory = at;
    for (at += strlen(at) + 1; *at; at += strlen(at) + 1) {
        if (count + 2 > room) {
            room = room ? 2 * room : 256;
            words = realloc(words, room * sizeof *words);
        }
        words[count++] = at;
    }
    words[count] = NULL;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawn_file_actions_addchdir_np(&actions, directory);
    slot->number = number;
    slot->start = now_us();
    int error = posix_spawnp(&slot->pid, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        fprintf(stderr, "%s: %s\n", words[0], strerror(error));
        exit(1);
    }
    return at + 1;
}

// Waits for one command and tells what it took.
static void finish(int jobs) {
    int status;
    struct rusage used;
    pid_t pid;
    do
        pid = wait4(-1, &status, 0, &used);
    while (pid < 0 && errno == EINTR);
    if (pid < 0)
        die("wait4");
    double end = now_us();
    for (int n = 0; n < jobs; n++)
        if (running[n].pid == pid) {
            long cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
            printf("%ld %d %ld %.0f\n", running[n].number, status, cpu, end - running[n].start);
            running[n].pid = 0;
        }
}

int main(int argc, char **argv) {
    int jobs = argc == 4 ? atoi(argv[1]) : 0;
    if (jobs < 1 || jobs > JOBS_MAX) {
        fprintf(stderr, "usage: drive JOBS LIST LOG\n");
        return 2;
    }
    int file = open(argv[2], O_RDONLY);
    struct stat stat;
    if (file < 0 || fstat(file, &stat))
        die(argv[2]);
    char *list = malloc(stat.st_size + 1), *end = list + stat.st_size;
    for (char *to = list; to < end;) {
        ssize_t got = read(file, to, end - to);
        if (got <= 0)
            die(argv[2]);
        to += got;
    }
    close(file);
    double begin = now_us();
    long number = 0;
    int busy = 0;
    for (char *at = list; at < end; number++) {
        if (busy == jobs) {
            finish(jobs);
            busy--;
        }
        struct running *slot = running;
        while (slot->pid)
            slot++;
        at = start(at, number, slot, argv[3]);
        busy++;
    }
    for (; busy; busy--)
        finish(jobs);
    printf("all %.0f\n", now_us() - begin);
    return 0;
}
