/* A program that does what a hostile or broken job would do, one thing a run. It prints what it found and exits with 0 when it
   could do its thing, with 3 and the error when it could not. */
#define _GNU_SOURCE
#include <time.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static int no(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 3;
}

static int done(const char *what, long result) {
    if (result < 0) return no(what);
    printf("%s: done\n", what);
    return 0;
}

static int list(const char *path) {
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0) return no(path);
    for (int i = 0; i < count; i++)
        if (strcmp(names[i]->d_name, ".") && strcmp(names[i]->d_name, "..")) printf("%s\n", names[i]->d_name);
    return 0;
}

/* Everything that could change an input. None of it has to fail: only the store must not notice. */
static int spoil(const char *path) {
    int ok = 0;
    ok += chmod(path, 0777) == 0;
    int fd = open(path, O_WRONLY);
    ok += fd >= 0 && write(fd, "evil", 4) == 4;
    fd = open(path, O_RDWR);
    if (fd >= 0) {
        char *map = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) { memcpy(map, "evil", 4); ok++; }
    }
    ok += truncate(path, 1) == 0;
    struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    ok += utimensat(AT_FDCWD, path, now, 0) == 0;
    ok += chown(path, getuid(), getgid()) == 0;
    char moved[4096];
    snprintf(moved, sizeof moved, "%s.moved", path);
    ok += link(path, moved) == 0;
    ok += rename(path, moved) == 0;
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0777);
    ok += fd >= 0 && write(fd, "evil", 4) == 4;
    ok += unlink(path) == 0;
    printf("%d\n", ok);
    return 0;
}

static void *spin(void *arg) {
    for (;;) pause();
    return arg;
}

static int try_socket(const char *name, int family, int type) {
    int fd = socket(family, type, 0);
    if (fd < 0) return no(name);
    printf("%s: done\n", name);
    return 0;
}

static int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return no("socket");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return done("connect", connect(fd, (struct sockaddr *)&to, sizeof to));
}

static int abstract(const char *name, int serve) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return no("socket");
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path + 1, name);
    if (serve) {
        if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1)) return no("bind");
        puts("listening");
        fflush(stdout);
        for (;;) pause();
    }
    return done("connect", connect(fd, (struct sockaddr *)&at, sizeof at));
}

static int make(const char *kind, const char *path, const char *arg) {
    if (!strcmp(kind, "fifo")) return done("mkfifo", mkfifo(path, 0666));
    if (!strcmp(kind, "link")) return done("symlink", symlink(arg, path));
    if (!strcmp(kind, "dir")) return done("mkdir", mkdir(path, 0777));
    if (!strcmp(kind, "device")) return done("mknod", mknod(path, S_IFCHR | 0666, 0x103));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    if (fd < 0) return no(path);
    if (!strcmp(kind, "huge")) return done("ftruncate", ftruncate(fd, 1LL << 40));
    return done("write", write(fd, arg, strlen(arg)));
}

static int fill(const char *path) {
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return no(path);
    for (;;)
        if (write(fd, block, sizeof block) < 0) return no("write");
}

static int fill_some(const char *path) {
    static char block[4 << 20];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return -1;
    long len = write(fd, block, sizeof block);
    if (len >= 0 && len < (long)sizeof block) len = write(fd, block, sizeof block);
    int saved = errno;
    close(fd);
    errno = saved;
    return len < 0 ? -1 : 0;
}

static int fill_many(const char *dir) {
    char name[4096];
    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "%s/%d", dir, i);
        if (fill_some(name)) { perror(name); return 3; }
    }
}

static int see(void) {
    struct utsname name;
    uname(&name);
    char cwd[4096];
    printf("uid %d gid %d pid %d host %s cwd %s nice %d\n", getuid(), getgid(), getpid(), name.nodename, getcwd(cwd, sizeof cwd),
           getpriority(PRIO_PROCESS, 0));
    int which[] = {RLIMIT_CORE, RLIMIT_NOFILE, RLIMIT_STACK};
    for (int i = 0; i < 3; i++) {
        struct rlimit limit;
        getrlimit(which[i], &limit);
        printf("limit %lld %lld\n", (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf("fd %d\n", fd);
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "Cap", 3) || !strncmp(line, "NoNewPrivs", 10) || !strncmp(line, "Seccomp:", 8) || !strncmp(line, "SigIgn", 6) ||
            !strncmp(line, "SigBlk", 6))
            fputs(line, stdout);
    return 0;
}

int main(int argc, char **argv, char **env) {
    (void)argc;
    const char *act = argv[1];
    if (!strcmp(act, "see")) return see();
    if (!strcmp(act, "env")) { for (; *env; env++) puts(*env); return 0; }
    if (!strcmp(act, "list")) return list(argv[2]);
    if (!strcmp(act, "exit")) return atoi(argv[2]);
    if (!strcmp(act, "raise")) return done("raise", raise(atoi(argv[2])));
    if (!strcmp(act, "say")) {
        fputs(argv[2], stdout);
        fputs(argv[3], stderr);
        return atoi(argv[4]);
    }
    if (!strcmp(act, "flood")) {
        for (;;)
            if (write(1, "flood flood flood flood flood flood flood flood flood flood flo\n", 64) < 0) return no("write");
    }
    if (!strcmp(act, "write-many")) {
        int bytes = atoi(argv[2]);
        while (bytes-- > 0) putchar('y');
        return 0;
    }
    if (!strcmp(act, "wait")) { puts("waiting"); fflush(stdout); for (;;) pause(); }
    if (!strcmp(act, "fork-bomb")) { for (time_t end = time(NULL) + 8; time(NULL) < end;) fork(); _exit(0); } // ends by itself where a limit fails
    if (!strcmp(act, "threads")) {
        for (;;) { pthread_t thread; pthread_create(&thread, NULL, spin, NULL); }
    }
    if (!strcmp(act, "eat-memory")) {
        for (;;) {
            char *block = malloc(1 << 20);
            if (!block) return no("malloc");
            memset(block, 'x', 1 << 20);
        }
    }
    if (!strcmp(act, "eat-memory-together")) {
        for (int i = 0; i < 7; i++) if (!fork()) break;
        volatile char *block = malloc(50 << 20);
        for (int i = 0; i < 50 << 20; i += 4096) block[i] = 'x';
        for (;;) pause();
    }
    if (!strcmp(act, "fill")) return fill(argv[2]);
    if (!strcmp(act, "fill-many")) return fill_many(argv[2]);
    if (!strcmp(act, "fill-and-clean")) {
        int result = fill_many(argv[2]);
        char command[64];
        for (int i = 0; i < 64; i++) { snprintf(command, sizeof command, "%s/%d", argv[2], i); unlink(command); }
        return result;
    }
    if (!strcmp(act, "leave")) {
        for (int i = 0; i < 3; i++)
            if (!fork()) { setsid(); if (!fork()) for (;;) pause(); _exit(0); }
        puts("left");
        return 0;
    }
    if (!strcmp(act, "write-later")) {
        if (!fork()) { setsid(); usleep(300000); int fd = open(argv[2], O_WRONLY | O_CREAT, 0644); return write(fd, "late", 4) != 4; }
        return 0;
    }
    if (!strcmp(act, "kill")) return done("kill", kill(atoi(argv[2]), SIGKILL));
    if (!strcmp(act, "read")) {
        char bytes[256];
        int fd = open(argv[2], O_RDONLY);
        long len = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
        if (len < 0) return no(argv[2]);
        return fwrite(bytes, 1, len, stdout) != (size_t)len;
    }
    if (!strcmp(act, "spoil")) return spoil(argv[2]);
    if (!strcmp(act, "make")) return make(argv[2], argv[3], argv[4]);
    if (!strcmp(act, "inet")) return try_socket("inet", AF_INET, SOCK_STREAM);
    if (!strcmp(act, "unix")) return try_socket("unix", AF_UNIX, SOCK_STREAM);
    if (!strcmp(act, "netlink")) return try_socket("netlink", AF_NETLINK, SOCK_RAW);
    if (!strcmp(act, "connect")) return connect_to(atoi(argv[2]));
    if (!strcmp(act, "loopback")) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof at;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&at, len) || listen(fd, 1) || getsockname(fd, (struct sockaddr *)&at, &len)) return no("bind");
        return connect_to(ntohs(at.sin_port));
    }
    if (!strcmp(act, "limit-init")) {
        struct rlimit none = {0, 0};
        return done("prlimit", prlimit(1, RLIMIT_CPU, &none, NULL));
    }
    if (!strcmp(act, "fork-until-refused")) {
        for (;;) {
            int pid = fork();
            if (!pid) for (;;) pause();
            if (pid < 0) { perror("fork"); return 1; }
        }
    }
    if (!strcmp(act, "abstract-serve")) return abstract(argv[2], 1);
    if (!strcmp(act, "abstract-connect")) return abstract(argv[2], 0);
    if (!strcmp(act, "mount")) return done("mount", mount("x", "/w", "tmpfs", 0, NULL));
    if (!strcmp(act, "umount")) return done("umount", umount2("/proc", MNT_DETACH));
    if (!strcmp(act, "unshare")) return done("unshare", unshare(CLONE_NEWUSER));
    if (!strcmp(act, "clone-user")) return done("clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    if (!strcmp(act, "setns")) { int fd = open("/proc/1/ns/mnt", O_RDONLY); return done("setns", fd < 0 ? -1 : setns(fd, 0)); }
    if (!strcmp(act, "ptrace")) return done("ptrace", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    if (!strcmp(act, "chroot")) return done("chroot", chroot("/w"));
    if (!strcmp(act, "setuid")) return done("setuid", setuid(0));
    if (!strcmp(act, "pivot")) return done("pivot_root", syscall(SYS_pivot_root, ".", "."));
    if (!strcmp(act, "io-uring")) return done("io_uring", syscall(SYS_io_uring_setup, 1, NULL));
    if (!strcmp(act, "tty")) {
        struct winsize size = {0};
        ioctl(2, TIOCGWINSZ, &size);
        printf("%d %d %d %d %d\n", isatty(0), isatty(1), isatty(2), size.ws_col, size.ws_row);
        fputs("line one\nline two\n", stderr);
        return 0;
    }
    if (!strcmp(act, "stdin")) {
        for (int c; (c = getchar()) != EOF;) putchar(c);
        return 0;
    }
    if (!strcmp(act, "stat")) {
        struct stat stat;
        for (char **path = argv + 2; *path; path++) {
            if (lstat(*path, &stat)) return no(*path);
            printf("%s %o %llu %llu %lld.%09ld\n", *path, stat.st_mode, (unsigned long long)stat.st_dev, (unsigned long long)stat.st_ino,
                   (long long)stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
        }
        return 0;
    }
    if (!strcmp(act, "addresses")) {
        /* Where the kernel put the stack and a mapping: the same each time when randomisation is off. */
        int local;
        printf("%p %p %d\n", (void *)&local, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
               (personality(0xffffffff) & ADDR_NO_RANDOMIZE) != 0);
        return 0;
    }
    fprintf(stderr, "what is %s?\n", act);
    return 2;
}
