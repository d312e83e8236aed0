"""What sessions cost: recording, and looking at a million flows; beside each figure the aim."""
import os
import re
import signal
import statistics
import subprocess
import time

from harness import Osproxy, status_of, tree_of

from . import processor
from .report import machine, render_table
from .worlds import BUILD, HOST, ORIGIN

STORE = os.path.join(BUILD, "tests/bench/store_bench")
FLOWS = 1_000_000
SEARCHES = ("~b needle", '~b "pass(word|phrase)="', '~b "[a-z]+@[a-z]+[.]com"')
SEARCHED_BYTES = 300_000_000


def store_bench(*arguments):
    return subprocess.run([STORE, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def figures(name, out):
    """All numbers behind `name` at the beginning of a line."""
    return [float(number) for number in re.findall(rf"^{name} ([\d.]+)", out, re.M)]


def remove(path):
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            os.unlink(path + end)


def cost_of_run(world, seconds, *options):
    """Microseconds of processor time per request of all of osproxy, and KiB of its largest process."""
    osproxy = Osproxy(world, "wrk", "-d", "0", *options, jsonl=False)
    osproxy.start()
    before = processor.time_of([osproxy.process.pid])
    out = world.run("wrk", "-t2", "-c64", f"-d{seconds}s", "-H", f"Host: {HOST}", f"http://{ORIGIN}/").stdout
    time.sleep(0.5)  # the last batch
    used = processor.time_of([osproxy.process.pid]) - before
    peak = max(int(status_of(pid).get("VmHWM", "0 kB").split()[0]) for pid in tree_of(osproxy.process.pid))
    osproxy.process.send_signal(signal.SIGINT)
    osproxy.process.wait(30)
    return used * 1e6 / int(re.search(r"(\d+) requests in", out)[1]), peak


def recording(world, rounds, seconds):
    """Rows of what --save adds; runs alternate, so that the machine's drift hits all alike."""
    path = f"{world.dir}/recorded.osp"
    added, bare, peak = [], [], 0
    for _ in range(rounds):
        none, _ = cost_of_run(world, seconds)
        saved, kib = cost_of_run(world, seconds, "--save", path)
        remove(path)
        without, _ = cost_of_run(world, seconds, "--save", path, "--save-bodies", "0")
        remove(path)
        added.append(saved - none)
        bare.append(without - none)
        peak = max(peak, kib)
    return peak, [["recording, us per request", f"{statistics.median(added):.1f}", "3"],
                  ["the same without bodies", f"{statistics.median(bare):.1f}", ""]]


def looking(path, worker_kib):
    out = store_bench("record", path, FLOWS)
    us = figures("us_per_flow", out)[0]
    size = os.path.getsize(path) / 1e6
    out = store_bench("view", path)
    sorts = [(float(ms), float(window), name) for ms, window, name in re.findall(r"^sort_ms ([\d.]+) window_ms ([\d.]+) (\w+)", out, re.M)]
    slowest = max(sorts)
    filters = [(float(ms), text) for ms, text in re.findall(r"^filter_ms ([\d.]+) first_ms [\d.]+ (.*) \(", out, re.M)]
    rss = (worker_kib + figures("peak_kib", out)[0]) / 1024
    return [["the recorder's part of it, heads of 400 bytes, us per flow", f"{us:.1f}", ""],
            ["size of the session, MB", f"{size:.0f}", "700"],
            ["memory (RSS) of worker and reader, MiB", f"{rss:.0f}", "120"],
            ["first row of an opened session, ms", f"{figures('first_row_ms', out)[0]:.0f}", "150"],
            *([f"filter over all: `{text}`, ms", f"{ms:.0f}", "300"] for ms, text in filters),
            [f"sort by {slowest[2]}, the slowest of {len(sorts)} columns, ms", f"{slowest[0]:.0f}", "1,000"],
            ["100 rows anywhere in it, ms", f"{max(window for _, window, _ in sorts):.1f}", "20"]]


def searching(path):
    rows = []
    for body in (2_000, 30_000, 200_000):
        remove(path)
        store_bench("record", path, SEARCHED_BYTES // body, body)
        rates = [SEARCHED_BYTES / 1e3 / figures("search_ms", store_bench("search", path, text))[0] for text in SEARCHES]
        rows.append([f"bodies of {body:,} bytes, MB/s: a word; two regular expressions", ", ".join(f"{rate:,.0f}" for rate in rates), "300"])
    return rows


def ring(path, flows, keep):
    """After each tenth of the flows: RSS and size. One process, as in a long run."""
    out = store_bench("record", path, flows, 0, keep)
    steps = re.findall(r"^step (\d+) rss_kib (\d+) bytes (\d+)", out, re.M)
    return [[f"{int(n):,}", f"{int(rss) / 1024:.0f}", f"{int(size) / 1e6:,.0f}"] for n, rss, size in steps]


def print_store(world, rounds, seconds):
    path = f"{world.dir}/bench.osp"
    worker_kib, rows = recording(world, rounds, seconds)
    rows += looking(path, worker_kib) + searching(path)
    remove(path)
    print(f"{machine()}; processor time; {FLOWS:,} flows\n")
    print(render_table(["", "measured", "aim"], rows))


def print_ring(directory, flows):
    path = f"{directory}/ring.osp"
    rows = ring(path, flows, "1G")
    remove(path)
    print(f"{machine()}; a ring of 1 GB\n")
    print(render_table(["flows written", "RSS, MiB", "file, MB"], rows))
