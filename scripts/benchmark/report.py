"""Markdown tables of what was measured: medians of the rounds."""
import os
import platform
import statistics

from .rows import ROWS


def render_table(head, lines):
    return "\n".join("| " + " | ".join(words) + " |" for words in [head, ["---"] + ["---:"] * (len(head) - 1), *lines])


def machine():
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "?")
    return f"{os.cpu_count()} cores, {cpu}, Linux {platform.release()}"


def middle(samples, key):
    """The median of `key`, a function of a sample, over those that say it; None when there are none."""
    values = [key(sample) for sample in samples if key(sample) is not None]
    return statistics.median(values) if values else None


def with_ratio(value, base, form="{:,.0f}"):
    """`base` None: `value` is what others are compared with."""
    return form.format(value) + (f" ({value / base:.2f})" if base else "")


def render_figures(samples, peers, rows):
    """What clients see, with the ratio to direct."""
    lines = []
    for row in rows:
        figures = {peer: middle(samples[row, peer], lambda sample: sample.figure) for peer in peers}
        cells = ["-" if figures[peer] is None else with_ratio(figures[peer], figures.get("direct") if peer != "direct" else None, ROWS[row].form)
                 for peer in peers]
        lines.append([ROWS[row].title, *cells])
    return render_table(["", *peers], lines)


def parts_of(samples):
    """Medians of the processor time of client, proxy and server; None for rows without it."""
    parts = [middle(samples, key) for key in (lambda s: s.client, lambda s: s.proxy, lambda s: s.server)]
    return None if None in parts else parts


def name_of(row):
    """The row's title without what it says of its figure."""
    title = ROWS[row].title.split(",")[0].replace("connections/s", "connection").removeprefix("p50 of ")
    return f"{title}, us per {ROWS[row].unit}"


def render_added(samples, peers, rows):
    """Processor time per request: of client and server without a proxy, and how much more client, proxy and server use with each."""
    others = [peer for peer in peers if peer != "direct"]
    lines = []
    for row in rows:
        direct = parts_of(samples[row, "direct"])
        if direct is None:
            continue
        parts = {peer: parts_of(samples[row, peer]) for peer in others}
        added = ["-" if parts[peer] is None else f"{sum(parts[peer]) - sum(direct):,.0f}" for peer in others]
        lines.append([name_of(row), f"{sum(direct):,.0f}", *added])
    return render_table(["", "direct: client + server", *(f"{peer} adds" for peer in others)], lines)


def render_parts(samples, peers, rows):
    """Processor time per request of client, proxy and server apart."""
    lines = []
    for row in rows:
        parts = {peer: parts_of(samples[row, peer]) for peer in peers}
        if any(parts.values()):
            lines.append([name_of(row), *("-" if parts[peer] is None else " / ".join(f"{part:,.1f}" for part in parts[peer]) for peer in peers)])
    return render_table(["client / proxy / server", *peers], lines)


def print_report(samples, peers, rows, rounds):
    print(f"{machine()}; median of {rounds} rounds, ratio to direct in parentheses\n")
    print(render_figures(samples, peers, rows))
    if "direct" in peers:
        print("\nProcessor time (user and kernel) of all processes together\n")
        print(render_added(samples, peers, rows))
    print("\nProcessor time of each\n")
    print(render_parts(samples, peers, rows))
