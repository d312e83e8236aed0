"""What a program that is not chosen notices of osproxy, on a machine with 2000 processes and 10,000 sockets."""
import os
import signal
import subprocess
import sys

import harness

from .peers import Peer
from .report import machine, middle, render_table, with_ratio
from .rows import Sample, bulk, http_keepalive, run_client
from .worlds import ORIGIN


class Bystander(Peer):
    """osproxy intercepts a program that is not there."""
    name = "osproxy"

    def __init__(self, world, engine):
        super().__init__(world)
        self.osproxy = harness.Osproxy(world, "no-such-program", "--engine", engine)

    def start(self):
        self.osproxy.start()
        self.process = self.osproxy.process

    def stop(self):
        if self.process is not None:
            self.osproxy.__exit__(None, None, None)


class Conntrack(Peer):
    """Connection tracking alone, as any stateful firewall switches it on."""
    name = "conntrack"

    def start(self):
        self.world.apply_rules("table ip peer {\nchain output {\ntype filter hook output priority 0\nct state established accept\n}\n}\n")

    def stop(self):
        self.world.run("nft", "delete", "table", "ip", "peer", check=False)


# Connects again and again; prints p50 and p99 of connect() in microseconds.
CONNECT = """
import socket, sys, time
times = []
for _ in range(int(sys.argv[2])):
    s = socket.socket()
    t = time.perf_counter_ns()
    s.connect((sys.argv[1], 80))
    times.append(time.perf_counter_ns() - t)
    s.close()
times.sort()
print(times[len(times) // 2] / 1000, times[len(times) * 99 // 100] / 1000)
"""

# Processes and sockets that have nothing to do with it.
CROWD = """
import os, resource, socket, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
server = socket.create_server(("127.0.0.1", 0), backlog=4096)
held = []
for _ in range(5000):
    held.append(socket.create_connection(server.getsockname())); held.append(server.accept()[0])
for _ in range(2000):
    if os.fork() == 0:
        for s in held: s.detach()
        os.closerange(3, 20000)
        time.sleep(3600)
print("ready", flush=True)
sys.stdin.readline()
"""

KINDS = {
    "without": Peer,
    "conntrack alone": Conntrack,
    "packet engine": lambda world: Bystander(world, "packet"),
    "redirect engine": lambda world: Bystander(world, "redirect"),
}
ROWS = ["connect() p50, us", "connect() p99, us", "HTTP keep-alive, req/s", "HTTPS bulk, MB/s"]


def figures_of(world, peer, seconds):
    """The figures of one round, in the order of ROWS."""
    connects = map(float, run_client(world, "/usr/bin/python3", "-c", CONNECT, ORIGIN, "3000", seconds=seconds).split())
    return [*connects, http_keepalive(world, peer, seconds).figure, bulk(world, peer, seconds).figure]


def measure_untouched(world, rounds, seconds):
    samples = {(row, kind): [] for row in ROWS for kind in KINDS}
    for number in range(rounds):
        for kind, make in KINDS.items():
            with make(world) as peer:
                for row, figure in zip(ROWS, figures_of(world, peer, seconds)):
                    samples[row, kind].append(Sample(figure))
        print(f"round {number + 1}/{rounds} done", file=sys.stderr)
    return samples


def print_untouched(world, rounds, seconds):
    """Columns: without osproxy, with connection tracking alone, with each engine."""
    crowd = subprocess.Popen(world.inside(["/usr/bin/python3", "-c", CROWD]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             start_new_session=True)
    try:
        if crowd.stdout.readline() != "ready\n":
            raise SystemExit("bench: the processes and sockets beside could not be made")
        samples = measure_untouched(world, rounds, seconds)
    finally:
        os.killpg(crowd.pid, signal.SIGKILL)
        crowd.wait()
    print(f"{machine()}, 2000 processes and 10,000 sockets beside; median of {rounds} rounds, ratio to without in parentheses\n")
    lines = []
    for row in ROWS:
        figures = {kind: middle(samples[row, kind], lambda sample: sample.figure) for kind in KINDS}
        lines.append([row, *(with_ratio(figures[kind], figures["without"] if kind != "without" else None) for kind in KINDS)])
    print(render_table(["", *KINDS], lines))
