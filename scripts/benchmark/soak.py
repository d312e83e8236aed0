"""Memory and descriptors of osproxy's processes over many short connections: whether anything grows."""
import os
import re
import shutil
import subprocess
import time

import harness
from harness import status_of

from .worlds import ORIGIN

FEW_DESCRIPTORS = 20

# Short connections; prints how many failed.
SHORT = """
import socket, sys
failed = 0
for _ in range(int(sys.argv[2])):
    try:
        s = socket.create_connection((sys.argv[1], 80), 20)
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: one.test\\r\\nConnection: close\\r\\n\\r\\n")
        while s.recv(65536): pass
        s.close()
    except OSError: failed += 1
print(failed)
"""


def what_leaks(rows, failed):
    """`rows`, after each tenth: RSS of broker and worker, their descriptors. In words what is not flat in the second half."""
    middle, end, wrong = rows[4], rows[9], []
    for name, i in (("broker", 0), ("worker", 1)):
        if end[i] > middle[i] * 1.05:
            wrong.append(f"the {name}'s memory grew by {end[i] / middle[i] - 1:.1%} in the second half")
        # Connections of the last moment may still be open, and the broker keeps a few files of those whom it met last.
        if end[i + 2] > middle[i + 2] + FEW_DESCRIPTORS:
            wrong.append(f"the {name} had {middle[i + 2]} descriptors in the middle, {end[i + 2]} at the end")
    if failed:
        wrong.append(f"{failed} connections failed")
    return wrong


def connect_often(world, selected, count):
    """`count` connections, half of them of the program `selected`; returns how many failed."""
    programs = (selected, selected, "/usr/bin/python3", "/usr/bin/python3")
    clients = [subprocess.Popen(world.inside([program, "-c", SHORT, ORIGIN, str(count // len(programs))]), stdout=subprocess.PIPE, text=True)
               for program in programs]
    return sum(int(client.communicate()[0]) for client in clients)


def sizes_of(pids):
    """VmRSS in KiB of each, then the descriptors of each."""
    rss = [int(re.search(r"\d+", status_of(pid)["VmRSS"])[0]) for pid in pids]
    return rss + [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]


def soak(world, connections):
    """Prints a row after each tenth of the connections; ends the program with 1 when the second half is not flat."""
    selected = f"{world.dir}/selected"
    shutil.copy(os.path.realpath("/usr/bin/python3"), selected)
    rows, lost = [], 0
    with harness.Osproxy(world, "selected", "--format", "jsonl", "--output", "/dev/null", jsonl=False) as osproxy:
        pids = [osproxy.broker(), osproxy.worker()]
        print("| connections | broker RSS, KiB | worker RSS, KiB | broker fds | worker fds | failed |\n|---:|---:|---:|---:|---:|---:|")
        for part in range(1, 11):
            failed = connect_often(world, selected, connections // 10)
            time.sleep(0.5)
            row = sizes_of(pids)
            rows.append(row)
            lost += failed
            print(f"| {connections * part // 10:,} | {row[0]:,} | {row[1]:,} | {row[2]} | {row[3]} | {failed} |", flush=True)
    growth = [rows[9][i] / rows[4][i] - 1 for i in (0, 1)]
    print(f"\ngrowth in the second half: broker {growth[0]:+.1%}, worker {growth[1]:+.1%}")
    if wrong := what_leaks(rows, lost):
        raise SystemExit("bench: " + "; ".join(wrong))
