"""`scripts/bench`: each row and each peer measures something, its tables are right, and `--soak` fails when something leaks."""
import os
import subprocess
import sys
import tempfile
import unittest

from harness import ASAN, TOP, main

sys.path.insert(0, os.path.join(TOP, "scripts"))
from benchmark import processor  # noqa: E402
from benchmark.peers import PEERS  # noqa: E402
from benchmark.report import render_added, render_figures, render_parts  # noqa: E402
from benchmark.rounds import measure_rounds  # noqa: E402
from benchmark.rows import ROWS, Sample  # noqa: E402
from benchmark.soak import what_leaks  # noqa: E402
from benchmark.store import STORE, figures, ring, store_bench  # noqa: E402
from benchmark.worlds import WEBSOCKET, BenchWorld  # noqa: E402


class Leaks(unittest.TestCase):
    FLAT = [1000, 2000, 30, 40]

    def leaks(self, end, failed=0):
        return what_leaks([[1, 1, 1, 1]] * 4 + [self.FLAT] * 5 + [end], failed)

    def test_flat(self):
        self.assertEqual(self.leaks([1049, 2100, 50, 40]), [])

    def test_memory(self):
        self.assertEqual(self.leaks([1051, 2000, 30, 40]), ["the broker's memory grew by 5.1% in the second half"])
        self.assertEqual(self.leaks([1000, 2200, 30, 40]), ["the worker's memory grew by 10.0% in the second half"])

    def test_descriptors(self):
        self.assertEqual(self.leaks([1000, 2000, 51, 40]), ["the broker had 30 descriptors in the middle, 51 at the end"])
        self.assertEqual(self.leaks([1000, 2000, 30, 80]), ["the worker had 40 descriptors in the middle, 80 at the end"])

    def test_failed_connections(self):
        self.assertEqual(self.leaks(self.FLAT, 3), ["3 connections failed"])


class Report(unittest.TestCase):
    SAMPLES = {
        ("http_keepalive", "direct"): [Sample(1000, 10, 0, 8), Sample(3000, 12, 0, 10), Sample(2000, 11, 0, 9)],
        ("http_keepalive", "osproxy"): [Sample(500, 12, 20, 9), Sample(600, 14, 20, 9)],
        ("http_keepalive", "squid"): [],
        ("idle", "direct"): [],
        ("idle", "osproxy"): [Sample(11.94)],
        ("idle", "squid"): [Sample(28.4)],
    }
    PEERS = ["direct", "osproxy", "squid"]
    ROWS = ["http_keepalive", "idle"]

    def test_figures(self):
        self.assertEqual(render_figures(self.SAMPLES, self.PEERS, self.ROWS).splitlines()[2:],
                         ["| HTTP keep-alive, req/s | 2,000 | 550 (0.28) | - |", "| memory (PSS) idle, MiB | - | 11.9 | 28.4 |"])

    def test_processor_time(self):
        self.assertEqual(render_added(self.SAMPLES, self.PEERS, self.ROWS).splitlines()[2:],
                         ["| HTTP keep-alive, us per request | 20 | 22 | - |"])
        self.assertEqual(render_parts(self.SAMPLES, self.PEERS, self.ROWS).splitlines()[2:],
                         ["| HTTP keep-alive, us per request | 11.0 / 0.0 / 9.0 | 13.0 / 20.0 / 9.0 | - |"])


@unittest.skipUnless(os.path.exists(STORE), "store_bench is not built")
class Store(unittest.TestCase):
    def test_figures(self):
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/s.osp"
            self.assertGreater(figures("us_per_flow", store_bench("record", path, 2000, 300))[0], 0)
            self.assertGreater(figures("peak_kib", store_bench("search", path, "~b lamp"))[0], 0)
            seen = store_bench("view", path)
            self.assertEqual(figures("flows", seen), [2000])
            self.assertEqual(len(figures("sort_ms", seen)), 16)

    def test_ring(self):
        with tempfile.TemporaryDirectory() as directory:
            rows = ring(f"{directory}/s.osp", 20_000, "5000")
            self.assertEqual((len(rows), rows[-1][0]), (10, "20,000"))


class ProcessorTime(unittest.TestCase):
    BUSY = "import os, time\nwhile sum(os.times()[:2]) < 0.3: pass\n"

    def test_descendants_count_when_they_have_ended(self):
        script = self.BUSY + f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {self.BUSY!r}])\nprint('done', flush=True)\ninput()"
        process = subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        before = processor.time_of_ended_children()
        self.assertEqual(process.stdout.readline(), "done\n")
        self.assertGreaterEqual(processor.time_of([process.pid]), 0.5)
        self.assertLess(processor.time_of([process.pid]), 5)
        self.assertEqual(processor.time_of_ended_children(), before)
        process.communicate("\n")
        self.assertGreaterEqual(processor.time_of_ended_children() - before, 0.5)


@unittest.skipIf(ASAN, "sanitized programs are not measured")
@unittest.skipUnless(os.path.exists(WEBSOCKET), "websocket_bench is not built")
class Measuring(unittest.TestCase):
    """Short rounds: that figures come out, not what they are."""

    @classmethod
    def setUpClass(cls):
        cls.world = BenchWorld(bulk_mib=8)
        cls.addClassCleanup(cls.world.close)

    def measure(self, peer, *rows):
        if not PEERS[peer].is_installed():
            self.skipTest(f"{PEERS[peer].program} is not installed; scripts/deps bench does it")
        samples = measure_rounds(self.world, [peer], rows, 1, 1)
        for row in rows:
            with self.subTest(row):
                self.assertEqual(len(samples[row, peer]), 1)
                sample = samples[row, peer][0]
                self.assertGreater(sample.figure, 0)
                # All but rows of memory; a small file costs less than a tick, and so does what slow peers ask of the server.
                if not ROWS[row].is_memory and row != "bulk":
                    self.assertGreater(sample.client, 0)
                    if peer not in ("mitmdump", "sslsplit"):
                        self.assertGreater(sample.server, 0)
                    (self.assertEqual if peer == "direct" else self.assertGreater)(sample.proxy, 0)

    def test_direct(self):
        self.measure("direct", *(row for row in ROWS if not ROWS[row].is_memory))

    def test_osproxy(self):
        self.measure("osproxy", *ROWS)

    def test_osproxy_with_rules(self):
        self.measure("osproxy-asked", "http2")
        self.measure("osproxy-editing", "https_keepalive", "http2")

    def test_haproxy(self):
        self.measure("haproxy", "https_new_ab", "http2", "websocket")

    def test_squid(self):
        self.measure("squid", "latency", "http_keepalive", "idle")

    def test_sslsplit(self):
        self.measure("sslsplit", "latency")

    def test_mitmdump(self):
        self.measure("mitmdump", "latency")


if __name__ == "__main__":
    main()
