"""What is measured: each row runs a client against a peer."""
import dataclasses
import re
import subprocess
import time

from . import processor
from .worlds import ECHO, ECHO_HOST, HOST, ORIGIN, WEBSOCKET

IDLE_CONNECTIONS = 500
GIVE_UP_AFTER = 30  # seconds beyond what a client was told


class Failed(Exception):
    """A peer did not do what the row asks of it."""


@dataclasses.dataclass
class Outcome:
    """What a row says: the figure of its table, and how many requests (messages, MiB) it took to come by it, where they were counted."""
    figure: float
    requests: float = 0


@dataclasses.dataclass
class Sample:
    """An outcome and microseconds of processor time per request; no time for rows that count no requests."""
    figure: float
    client: float | None = None
    proxy: float | None = None
    server: float | None = None

    def total(self):
        return self.client + self.proxy + self.server


@dataclasses.dataclass
class Row:
    title: str
    run: object  # (world, peer, seconds) -> Outcome, or None where the row says nothing about this peer
    form: str = "{:,.0f}"
    unit: str = "request"
    is_memory: bool = False


def measure(row, world, peer, seconds):
    """One round of a row: a Sample, or None."""
    clients, proxy, server = (processor.time_of_ended_children(), processor.time_of(peer.roots()), processor.time_of(world.servers()))
    outcome = row.run(world, peer, seconds)
    if outcome is None:
        return None
    if not row.is_memory and not peer.has_seen_it():
        raise SystemExit(f"bench: {peer.name} let {row.title} pass unseen")
    if not outcome.requests:
        return Sample(outcome.figure)
    per_request = 1e6 / outcome.requests
    return Sample(outcome.figure, (processor.time_of_ended_children() - clients) * per_request,
                  (processor.time_of(peer.roots()) - proxy) * per_request, (processor.time_of(world.servers()) - server) * per_request)


def run_client(world, *command, seconds):
    """Its output. subprocess.TimeoutExpired where it does not end."""
    result = subprocess.run(world.inside(command), text=True, capture_output=True, timeout=seconds + GIVE_UP_AFTER)
    if result.returncode != 0:
        raise Failed(f"{command[0]} ended with {result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def find(pattern, text):
    found = re.search(pattern, text, re.M)
    if not found:
        raise Failed(f"{pattern} is not in: {text.strip()}")
    return found


def run_wrk(world, scheme, threads, connections, seconds, *more):
    """Its rate and count of requests, and the median latency in microseconds."""
    out = run_client(world, "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-H", f"Host: {HOST}",
                     *more, f"{scheme}://{ORIGIN}/", seconds=seconds)
    rate = float(find(r"Requests/sec:\s+([\d.]+)", out)[1])
    requests = int(find(r"(\d+) requests in ", out)[1])
    value, unit = find(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
    if requests == 0:
        raise Failed("no request was answered")
    return rate, requests, float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def https_keepalive(world, _, seconds):
    return Outcome(*run_wrk(world, "https", 2, 64, seconds)[:2])


def http_keepalive(world, _, seconds):
    return Outcome(*run_wrk(world, "http", 2, 64, seconds)[:2])


def https_new_wrk(world, _, seconds):
    return Outcome(*run_wrk(world, "https", 2, 32, seconds, "-H", "Connection: close")[:2])


def https_new_ab(world, _, seconds):
    """wrk spins while a handshake waits, ab does not: its processor time is what a client needs."""
    out = run_client(world, "ab", "-q", "-r", "-t", str(seconds), "-n", "10000000", "-c", "32", "-H", f"Host: {HOST}", f"https://{ORIGIN}/",
                     seconds=seconds)
    requests, failed = int(find(r"Complete requests:\s+(\d+)", out)[1]), int(find(r"Failed requests:\s+(\d+)", out)[1])
    if failed or requests == 0:
        raise Failed(f"{failed} of {requests} requests failed")
    return Outcome(float(find(r"Requests per second:\s+([\d.]+)", out)[1]), requests)


def http2(world, _, seconds):
    """Peers that speak no HTTP/2 may answer in HTTP/1.1."""
    out = run_client(world, "h2load", "-t2", "-c16", "-m16", f"-D{seconds}", "--npn-list=h2,http/1.1", f"https://{ORIGIN}/", seconds=seconds)
    if not re.search(r" 0 failed, 0 errored", out):
        raise Failed(find(r"^requests:.*", out)[0])
    return Outcome(float(find(r"([\d.]+) req/s", out)[1]), int(find(r"^requests: \d+ total, \d+ started, (\d+) done", out)[1]))


def websocket(world, _, seconds):
    """16 connections, on each one small message under way."""
    out = run_client(world, WEBSOCKET, "load", ECHO, "443", ECHO_HOST, "16", str(seconds), seconds=seconds)
    rate = float(find(r"([\d.]+) messages/s", out)[1])
    return Outcome(rate, rate * seconds)


def latency(world, _, seconds):
    _, requests, median = run_wrk(world, "https", 1, 1, seconds)
    return Outcome(median, requests)


def bulk(world, _, seconds):
    out = run_client(world, "curl", "-sk", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}", "-m", str(GIVE_UP_AFTER), "--resolve",
                     f"{HOST}:443:{ORIGIN}", f"https://{HOST}/files/bulk", seconds=seconds)
    speed, size = map(float, out.split())
    if size != world.bulk_bytes:
        raise Failed(f"only {size:.0f} of {world.bulk_bytes} bytes arrived")
    return Outcome(speed / 1e6, size / (1 << 20))


def idle(_, peer, __):
    if not peer.roots():
        return None
    time.sleep(0.5)  # what it does at its start is over
    return Outcome(sum(map(processor.pss_kib, peer.roots())) / 1024)


# Prints how many connections were answered and stay open, then, when told so, how many still are.
IDLE_CLIENT = """
import socket, ssl, sys
context = ssl._create_unverified_context()
open_now = []
for _ in range(int(sys.argv[3])):
    try:
        s = context.wrap_socket(socket.create_connection((sys.argv[1], 443), 20), server_hostname=sys.argv[2])
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: " + sys.argv[2].encode() + b"\\r\\n\\r\\n")
        got = b""
        while b"\\r\\n\\r\\n" not in got or len(got.split(b"\\r\\n\\r\\n", 1)[1]) < 1000:
            more = s.recv(65536)
            if not more: raise OSError("closed")
            got += more
        open_now.append(s)
    except OSError:
        break
print(len(open_now), flush=True)
sys.stdin.readline()
still_open = 0
for s in open_now:
    s.setblocking(False)
    try:
        still_open += s.recv(1) != b""
    except ssl.SSLWantReadError:
        still_open += 1
    except OSError:
        pass
print(still_open)
"""


def idle_connection(world, peer, _, connections=IDLE_CONNECTIONS):
    """KiB for each idle intercepted keep-alive connection; None for a peer that closes most of them."""
    if not peer.roots():
        return None
    before = sum(map(processor.pss_kib, peer.roots()))
    client = subprocess.Popen(world.inside(["/usr/bin/python3", "-c", IDLE_CLIENT, ORIGIN, HOST, str(connections)]), stdout=subprocess.PIPE,
                              stdin=subprocess.PIPE, text=True)
    client.stdout.readline()
    time.sleep(0.5)
    after = sum(map(processor.pss_kib, peer.roots()))
    still_open = int(client.communicate("\n")[0] or 0)
    return Outcome((after - before) / still_open) if still_open > connections // 2 else None


ROWS = {
    "https_keepalive": Row("HTTPS keep-alive, req/s", https_keepalive),
    "https_new_wrk": Row("new TLS connections/s (wrk)", https_new_wrk, unit="connection"),
    "https_new_ab": Row("new TLS connections/s (ab)", https_new_ab, unit="connection"),
    "http_keepalive": Row("HTTP keep-alive, req/s", http_keepalive),
    "http2": Row("HTTP/2, req/s", http2),
    "websocket": Row("WebSocket in TLS, messages/s", websocket, unit="message"),
    "bulk": Row("HTTPS bulk, MB/s", bulk, unit="MiB"),
    "latency": Row("p50 of one HTTPS connection, us", latency),
    "idle": Row("memory (PSS) idle, MiB", idle, "{:,.1f}", is_memory=True),
    "idle_connection": Row("memory per idle TLS connection, KiB", idle_connection, "{:,.1f}", is_memory=True),
}
