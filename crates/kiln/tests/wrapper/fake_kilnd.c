/* A daemon for tests: notes how it was started, listens, answers every request with the same bytes. Speaks the wire by
   itself, so that it also checks the layout that every version must keep.
   Compiled with -DNOTES="directory" -DSOCKET="path" -DREPLY="file". */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

static void note(const char *name, FILE **file) {
    char path[512];
    snprintf(path, sizeof path, NOTES "/%d.%s", getpid(), name);
    *file = fopen(path, "w");
    if (!*file) exit(9);
}

static void note_all(int argc, char **argv) {
    FILE *out;
    char target[512];
    /* Descriptors first: this is what was inherited. */
    char fds[4096] = "";
    for (int fd = 0; fd < 1024; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(path, target, sizeof target - 1);
        if (len < 0) continue;
        target[len] = 0;
        snprintf(fds + strlen(fds), sizeof fds - strlen(fds), "%d=%.4s\n", fd, target);
    }
    note("fds", &out);
    fputs(fds, out);
    fclose(out);
    note("env", &out);
    for (char **at = environ; *at; at++) fprintf(out, "%s\n", *at);
    fclose(out);
    note("world", &out);
    mode_t mask = umask(0);
    umask(mask);
    struct sigaction action;
    int changed = 0;
    for (int signal = 1; signal < 32; signal++)
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL) changed++;
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int signal = 1; signal < 32; signal++) changed += sigismember(&blocked, signal) == 1;
    fprintf(out, "cwd=%s umask=%o session=%d parent-is-starter=%d signals=%d argc=%d argv1=%s\n", getcwd(target, sizeof target),
            mask, getsid(0) != getpid() && getpgrp() == getsid(0), 0, changed, argc, argv[1]);
    fclose(out);
}

int main(int argc, char **argv) {
    if (argc != 4 || strcmp(argv[1], "daemon") || strcmp(argv[2], "--ready-fd")) return 8;
    int ready = atoi(argv[3]);
    note_all(argc, argv);
#ifdef FAILS
    if (write(ready, FAILS, strlen(FAILS)) < 0) return 7;
    return 1;
#endif
#ifdef HANGS
    for (;;) pause();
#endif
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, SOCKET);
    unlink(SOCKET);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1000)) return 6;
    if (write(ready, "ready\n", 6) != 6) return 5;
    close(ready);
    static char reply[65536], request[1 << 20];
    int file = open(REPLY, O_RDONLY);
    ssize_t len = read(file, reply, sizeof reply);
    close(file);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0) continue;
        if (read(peer, request, sizeof request) > 0 && write(peer, reply, len) == len)
            while (read(peer, request, sizeof request) > 0) {
            }
        close(peer);
    }
}
