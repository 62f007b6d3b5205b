// A wire between this network namespace and another that holds every packet back for a while: wire NAME OTHER-NAME NAMESPACE MICROSECONDS.
//
// Makes a TUN device at either end and carries packets between them until it is killed; says "ready" when it can. For kernels
// without netem. Knows no protocol, drops nothing but what finds a full queue, and keeps the order.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

// A packet of the usual 1,500 bytes, and the packets that 2 Gbit/s put on the wire in 30 ms.
enum { PACKET_BYTES = 1600, PACKETS = 5000 };

struct direction {
    int from, to;
    uint64_t first, next;
    struct packet {
        uint64_t due_ns;
        ssize_t size;
        char bytes[PACKET_BYTES];
    } *packets;
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000u + t.tv_nsec;
}

static int tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request))
        die("/dev/net/tun");
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: wire NAME OTHER-NAME NAMESPACE MICROSECONDS\n");
        return 2;
    }
    uint64_t delay_ns = strtoull(argv[4], NULL, 10) * 1000;
    int here = tun(argv[1]), namespace = open(argv[3], O_RDONLY);
    if (namespace < 0 || setns(namespace, CLONE_NEWNET))
        die(argv[3]);
    int there = tun(argv[2]);
    struct direction ways[2] = {{.from = here, .to = there}, {.from = there, .to = here}};
    for (int n = 0; n < 2; n++)
        if (!(ways[n].packets = malloc(PACKETS * sizeof *ways[n].packets)))
            die("memory");
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t now = now_ns(), soonest = UINT64_MAX;
        struct pollfd polled[2];
        for (int n = 0; n < 2; n++) {
            struct direction *way = &ways[n];
            while (way->first < way->next && way->packets[way->first % PACKETS].due_ns <= now) {
                struct packet *packet = &way->packets[way->first++ % PACKETS];
                // A device that does not take a packet loses it, as any wire does.
                if (write(way->to, packet->bytes, packet->size) < 0)
                    continue;
            }
            if (way->first < way->next && way->packets[way->first % PACKETS].due_ns < soonest)
                soonest = way->packets[way->first % PACKETS].due_ns;
            polled[n].fd = way->from;
            polled[n].events = way->next - way->first < PACKETS ? POLLIN : 0;
        }
        uint64_t wait = soonest == UINT64_MAX ? 0 : soonest > now ? soonest - now : 0;
        struct timespec timeout = {.tv_sec = wait / 1000000000u, .tv_nsec = wait % 1000000000u};
        if (ppoll(polled, 2, soonest == UINT64_MAX ? NULL : &timeout, NULL) < 0)
            die("ppoll");
        for (int n = 0; n < 2; n++) {
            struct direction *way = &ways[n];
            while (polled[n].revents & POLLIN && way->next - way->first < PACKETS) {
                struct packet *packet = &way->packets[way->next % PACKETS];
                packet->size = read(way->from, packet->bytes, PACKET_BYTES);
                if (packet->size <= 0)
                    break;
                packet->due_ns = now_ns() + delay_ns;
                way->next++;
            }
        }
    }
}
