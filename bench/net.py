"""Hosts of a test farm: network namespaces joined to the client's by a wire of their own. Knows no tool.

The client is this process, in a namespace of its own. What a host's wire carried is counted by the kernel, apart for both directions.
Where namespaces are not allowed, every host is this machine's loopback and nothing is counted.
"""

import ctypes
import os
import signal
import subprocess

# From <sched.h>.
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
# Compiled by scripts/bench from wire.c.
WIRE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "target", "bench", "wire")
# Namespaces of this run, so that all can be ended.
HOSTS = []
ISOLATED = False


def isolate():
    """Moves this process to a network of its own, which is loopback alone; says whether that was allowed."""
    global ISOLATED
    if not ISOLATED and LIBC.unshare(CLONE_NEWNET) == 0:
        ip("link", "set", "lo", "up")
        ISOLATED = True
    return ISOLATED


def ip(*words, inside=None):
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    subprocess.run([*enter, "ip", *words], check=True, timeout=10, capture_output=True)


class Host:
    """One machine of the farm: `address` is where it listens; `enter` moves a process into it.

    Its wire holds each packet back for `delay_ms` where that is not 0.
    """

    def __init__(self, delay_ms=0):
        self.holder = self.carrier = None
        self.black = False
        self.address = self.client = "127.0.0.1"
        if not isolate():
            return
        # The lowest number that no host has: addresses stay few.
        taken = {host.number for host in HOSTS}
        self.number = next(n for n in range(1, 250) if n not in taken)
        ready, told = os.pipe()
        self.holder = os.fork()
        if self.holder == 0:
            hold(told)
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        HOSTS.append(self)
        self.wire = f"farm{self.number}"
        self.client, self.address = f"10.77.{self.number}.1", f"10.77.{self.number}.2"
        if delay_ms:
            self.carrier = carry(self.wire, self.holder, delay_ms)
        else:
            ip("link", "add", self.wire, "type", "veth", "peer", "name", "wire", "netns", str(self.holder))
        ip("addr", "add", f"{self.client}/24", "dev", self.wire)
        ip("link", "set", self.wire, "up")
        ip("link", "set", "lo", "up", inside=self.holder)
        ip("addr", "add", f"{self.address}/24", "dev", "wire", inside=self.holder)
        ip("link", "set", "wire", "up", inside=self.holder)
        # The hosts reach each other through the client's machine.
        ip("route", "add", "default", "via", self.client, inside=self.holder)
        with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
            file.write("1")

    def enter(self):
        """For a child between fork and exec."""
        if self.holder:
            fd = os.open(f"/proc/{self.holder}/ns/net", os.O_RDONLY)
            if LIBC.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)

    def counted(self):
        """Bytes that the wire carried so far, all headers included: (from the client, to the client). None where nothing counts."""
        if not self.holder:
            return None
        with open("/proc/net/dev") as file:
            fields = next(line for line in file if line.strip().startswith(self.wire + ":")).split(":")[1].split()
        return int(fields[8]), int(fields[0])

    def limit(self, rate):
        """Bounds both directions, as tc writes a rate; each end may queue 50 ms."""
        for inside, wire in ((None, self.wire), (self.holder, "wire")):
            enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
            subprocess.run([*enter, "tc", "qdisc", "replace", "dev", wire, "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"],
                           check=True, timeout=10, capture_output=True)

    def black_hole(self):
        """From now on packets vanish in both directions, without a word to either end."""
        if self.holder:
            self.rules("-I")
            self.black = True

    def rules(self, how):
        for chain, direction in (("INPUT", "-i"), ("OUTPUT", "-o"), ("FORWARD", "-i"), ("FORWARD", "-o")):
            subprocess.run(["iptables", how, chain, direction, self.wire, "-j", "DROP"], check=True, timeout=10)

    def end(self):
        if self.black:
            # The next host may get this one's number.
            self.rules("-D")
            self.black = False
        if self.carrier:
            self.carrier.kill()
            self.carrier.wait()
        elif self.holder:
            # The kernel takes a namespace down when it comes to it; the wire's name is wanted again at once. Gone already is as good.
            subprocess.run(["ip", "link", "del", self.wire], timeout=10, capture_output=True)
        if self.holder:
            os.kill(self.holder, signal.SIGKILL)
            os.waitpid(self.holder, 0)
            HOSTS.remove(self)
            self.holder = None


def carry(wire, holder, delay_ms):
    """Starts wire.c between here and a namespace."""
    argv = [WIRE, wire, "wire", f"/proc/{holder}/ns/net", str(int(delay_ms * 1000))]
    carrier = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if carrier.stdout.readline().strip() != "ready":
        carrier.wait()
        raise OSError("no TUN devices can be made here")
    return carrier


def hold(told):
    """Keeps a new namespace until it is killed."""
    try:
        if LIBC.unshare(CLONE_NEWNET) == 0:
            LIBC.prctl(1, signal.SIGKILL)
            os.write(told, b"1")
            while True:
                signal.pause()
    finally:
        os._exit(1)
