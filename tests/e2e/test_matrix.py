"""The faithfulness matrix: real programs, every way of using HTTP that each of them knows, without osproxy and through it: the same bytes
arrive, the program says and exits with the same, and the flow says what the origin says. matrix/table.py is the matrix.

OSPROXY_MATRIX=curl,java restricts a run by hand to some clients, OSPROXY_MATRIX_CELLS=expect,h2/head to some cells.
"""
import collections
import concurrent.futures
import json
import os
import re
import time
import unittest

from harness import PATIENCE, Osproxy, main
from matrix.clients import Runner, tasks
from matrix.origins import Origins
from matrix.table import CELLS, CLIENTS, LARGE, cells_of

FILTER = "curl,wget,git,apt,python,node,java,nghttp,h2load,chromium"
wanted = [name for name in CLIENTS if name in os.environ.get("OSPROXY_MATRIX", ",".join(CLIENTS)).split(",")]
origins = None
direct, through = {}, {}  # {id: result} of the two runs
known = {"direct": {}, "through": {}}  # what the origins say
flows = {}  # what osproxy says


def setUpModule():
    global origins
    origins = Origins(wanted)
    measure("direct", direct, f"{origins.dir}/ca.pem")
    with Osproxy(origins.world, FILTER) as osproxy:
        measure("through", through, f"{origins.world.ca_dir}/root-ca.pem")
        until = time.monotonic() + PATIENCE
        while missing(osproxy) and time.monotonic() < until:
            time.sleep(0.1)
        for flow in of_cells(osproxy):
            flows.setdefault(identity(flow["url"]), []).append(flow)


def tearDownModule():
    origins.world.close()


def identity(url):
    return path_of(url).split("/")[1]


def path_of(url):
    return "/" + url.split("/", 3)[3]


def of_cells(osproxy):
    return [flow for flow in osproxy.flows(type="http", event="end") if identity(flow["url"]).count("-") == 2]


def missing(osproxy):
    """Whether an origin has had more requests than osproxy has flows: the tests say then which."""
    shown = collections.Counter(identity(flow["url"]) for flow in of_cells(osproxy))
    return any(shown[ident] < len(entries) for ident, entries in known["through"].items() if ident.count("-") == 2)


def measure(name, results, trust):
    origins.forget()
    origins.new_targets([f"git-{version}-{cell}" for version in ("h1", "h2") for cell in ("upload", "chunked_upload")])
    runner = Runner(origins, trust)
    work = [task for client in sorted(wanted, key=lambda client: client not in ("chromium", "java")) for task in tasks(runner, client)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for result in pool.map(lambda task: task(), work):
            results.update(result)
    expected = {f"{client}-{version}-{cell}" for client in wanted for version, cell in cells_of(client) if cell != "nghttpd"}
    until = time.monotonic() + PATIENCE
    while not expected <= origins.known().keys() and time.monotonic() < until:
        time.sleep(0.1)
    known[name] = settled()


def settled():
    """What the origins have noted, when nothing more comes: they note a request when its connection is done with it."""
    before, now = None, origins.known()
    while now != before:
        time.sleep(0.3)
        before, now = now, origins.known()
    return now


def comparable(result):
    """Without the time of the answer, which is another one in the second run."""
    return json.loads(re.sub(r"(?i)(date\W+)\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", r"\1(a time)", json.dumps(result)))


def seen(entries, ident):
    """What the origin got, in which order whatever. How much of an abandoned exchange or of an unwanted body there was is a matter of time."""
    keys = ["method", "path", "version", "headers", "trailers", "status", "complete", "agent"]
    keys += ["received", "sha256"] if all(entry["complete"] for entry in entries) and not ident.endswith("expect_refused") else []
    keys += ["slow"] if ident.endswith("slow_writer") else []
    return sorted(json.dumps([entry.get(key) for key in keys]) for entry in entries)


class Matrix(unittest.TestCase):
    maxDiff = 4000

    def check(self, client):
        if client not in wanted:
            self.skipTest("OSPROXY_MATRIX")
        for version, name in cells_of(client):
            ident = f"{client}-{version}-{name}"
            with self.subTest(version=version, cell=name):
                self.assertIn(ident, direct)
                self.assertEqual(comparable(through.get(ident)), comparable(direct[ident]))
                self.check_sense(ident, direct[ident])
                self.assertEqual(seen(known["through"].get(ident, []), ident), seen(known["direct"].get(ident, []), ident))
                self.check_flows(client, version, name, ident)

    def check_sense(self, ident, result):
        """Two equal failures are no success."""
        self.assertNotIn("failed", result)
        self.assertNotEqual(result.get("exit"), "endless")
        failing = ("_abort", "_reset", "not_modified")  # wget ends with 8 after 304
        if not ident.endswith(failing):
            self.assertIn(result.get("exit", 0), (0, [0, 0]), result)
            self.assertNotIn("error", result)
        if ident.endswith("slow_server") and "slow" in result:
            self.assertIn(result["slow"], (True, "true"))
        if ident.endswith("slow_writer"):
            self.assertTrue(all(entry["slow"] for entry in known["direct"][ident]))

    def check_flows(self, client, version, name, ident):
        cell, seen_by_us = CELLS[name], flows.get(ident, [])
        self.assertTrue(seen_by_us, "no flow")
        for flow in seen_by_us:
            self.assertRegex(flow["process"]["name"], f"^({CLIENTS[client].process})$")
            self.assertEqual(flow["http_version"], {"h1": "1.1", "h2": "2"}[version])
        failed = [flow["error"] for flow in seen_by_us if flow["error"] is not None]
        for error in failed:
            self.assertTrue(cell.error, f"an error where there should be none: {error}")
            self.assertRegex(error, cell.error)
        self.assertEqual(bool(failed), bool(cell.error), "aborted, and no flow says so")
        counts = [(flow["method"], path_of(flow["url"]), flow["status"], flow["request_bytes"], flow["response_bytes"])
                  for flow in seen_by_us if flow["error"] is None]
        said = [(entry["method"], entry["path"], entry["status"], entry["received"], entry["sent"])
                for entry in known["through"].get(ident, []) if entry["complete"]]
        if name == "nghttpd":  # writes no such log
            said = [("GET", f"/{ident}/large", 200, 0, LARGE)] * len(seen_by_us)
        if name == "expect_refused":
            counts, said = ([entry[:3] + entry[4:] for entry in entries] for entries in (counts, said))
        self.assertEqual(collections.Counter(counts), collections.Counter(said))
        self.assertEqual(len(failed), len(known["through"].get(ident, [])) - len(said) if name != "nghttpd" else 0, failed)


def add_client(client):
    setattr(Matrix, f"test_{client}", lambda self: self.check(client))


for each in CLIENTS:
    add_client(each)


class Table(unittest.TestCase):
    def test_what_is_left_out_exists(self):
        for client, (_, versions, cannot) in CLIENTS.items():
            for what, why in cannot.items():
                self.assertIn(what.split("/")[-1], CELLS, client)
                self.assertTrue(why, client)


if __name__ == "__main__":
    main()
