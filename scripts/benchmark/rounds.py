"""Measures every row for every peer, round by round, so that the machine's drift hits all alike."""
import subprocess
import sys

from .peers import PEERS
from .rows import ROWS, Failed, measure


def measure_rounds(world, peers, rows, rounds, seconds):
    """{(row, peer): [Sample]} with a sample for each round in which the peer did what the row asks."""
    samples = {(row, peer): [] for row in rows for peer in peers}
    stuck = set()
    for number in range(rounds):
        for peer in peers:
            for row in rows:
                if (row, peer) in stuck:
                    continue
                try:
                    # A new process for each row: no row measures what an earlier one left behind.
                    with PEERS[peer](world) as running:
                        sample = measure(ROWS[row], world, running, seconds)
                except (Failed, AssertionError) as error:
                    print(f"bench: {peer} failed {row}: {error}", file=sys.stderr)
                except subprocess.TimeoutExpired:
                    print(f"bench: {peer} never finished {row}", file=sys.stderr)
                    stuck.add((row, peer))
                else:
                    if sample is not None:
                        samples[row, peer].append(sample)
            print(f"round {number + 1}/{rounds}: {peer} done", file=sys.stderr)
    return samples
