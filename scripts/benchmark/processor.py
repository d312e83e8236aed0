"""Processor time and memory of processes, from /proc.

Rates swing by a factor of two where a machine has other work to do; processor time per request holds within a few per cent.
"""
import os
import re
import resource

from harness import tree_of

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def time_of(roots):
    """Seconds that the processes `roots` and all their descendants have used, in user mode and in the kernel (proc(5): utime, stime, and
    cutime, cstime of children that have ended and were waited for). The kernel's work on packets counts for the process that it interrupts."""
    ticks = 0
    for root in roots:
        for pid in tree_of(root):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it has ended meanwhile: its parent has its time
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS_PER_SECOND


def time_of_ended_children():
    """Seconds used by this process's children that have ended, and by theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pss_kib(root):
    """Proportional set size of the process and all its descendants."""
    total = 0
    for pid in tree_of(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        except (OSError, AttributeError):
            pass  # it has ended meanwhile
    return total
