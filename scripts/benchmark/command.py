"""Measures osproxy beside its peers: direct, osproxy with rules, haproxy, squid (ssl-bump), sslsplit, mitmdump.

Everything runs on this machine: an nginx origin in a network namespace, the client (wrk, ab, h2load, curl) and the proxy under
test in another. Each round measures every row for every peer in turn, so that the machine's drift hits all alike. Prints Markdown
tables with the median of the rounds: rates and latencies, and the processor time that a request costs client, proxy and server.
Needs root and the packages of `scripts/deps bench`.
"""
import argparse
import os
import subprocess

from .peers import PEERS
from .report import print_report
from .rounds import measure_rounds
from .rows import ROWS
from .soak import soak
from .store import print_ring, print_store
from .untouched import print_untouched
from .worlds import BUILD, TOP, BenchWorld


def names(known):
    def parse(text):
        wanted = text.split(",")
        if unknown := [name for name in wanted if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; expected some of {','.join(known)}")
        return wanted
    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement lasts")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--rows", type=names(ROWS), default=list(ROWS), help=",".join(ROWS))
    parser.add_argument("--attribution", action="store_true", help="socket to process, beside `lsof -i` and `ss -p`")
    parser.add_argument("--untouched", action="store_true", help="what a program that is not chosen notices of osproxy")
    parser.add_argument("--soak", action="store_true",
                        help="memory and descriptors of broker and worker over many short connections; exits with 1 when they grow")
    parser.add_argument("--store", action="store_true", help="what --save costs, and what it costs to look at a million flows")
    parser.add_argument("--ring", type=int, metavar="FLOWS", help="so many flows (10000000: some minutes) into a ring of 1 GB: memory and size of the file")
    parser.add_argument("--connections", type=int, default=100_000, help="of --soak")
    return parser.parse_args()


def build(*targets):
    subprocess.run([os.path.join(TOP, "scripts/build"), "release", *targets], check=True)


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        raise SystemExit("bench: needs root for network namespaces; try: sudo scripts/bench")
    subprocess.run([os.path.join(TOP, "scripts/deps"), "bench"], check=True)
    if arguments.attribution:
        build("attribution_bench")
        os.execv(os.path.join(BUILD, "tests/bench/attribution_bench"), ["attribution_bench"])
    if arguments.store or arguments.ring:
        build("store_bench")
    build("websocket_bench", *([] if "OSPROXY" in os.environ else ["osproxy"]))
    world = BenchWorld()
    try:
        if arguments.untouched:
            print_untouched(world, arguments.rounds, arguments.seconds)
        elif arguments.ring:
            print_ring(world.dir, arguments.ring)
        elif arguments.store:
            print_store(world, arguments.rounds, arguments.seconds)
        elif arguments.soak:
            soak(world, arguments.connections)
        else:
            samples = measure_rounds(world, arguments.peers, arguments.rows, arguments.rounds, arguments.seconds)
            print_report(samples, arguments.peers, arguments.rows, arguments.rounds)
    finally:
        world.close()
