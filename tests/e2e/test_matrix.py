"""The faithfulness matrix: real programs, every way of using HTTP that each of them knows, without osproxy and through it: the same bytes
arrive, the program says and exits with the same, and the flow says what the origin says. matrix/table.py is the matrix. It is run twice through
osproxy: the second time a rule is asked about each message, and changes none.

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
from matrix.table import CELLS, CLIENTS, cells_of

LOGGED = ("user-agent", "x-cell")  # of nginx
FILTER = "curl,wget,git,apt,python,node,java,nghttp,h2load,chromium"
wanted = [name for name in CLIENTS if name in os.environ.get("OSPROXY_MATRIX", ",".join(CLIENTS)).split(",")]
origins = None
RUNS = ("unasked", "asked")
direct = {}  # {id: result} without osproxy
through = {run: {} for run in RUNS}  # the same through it
known = {run: {} for run in ("direct", *RUNS)}  # what the origins say
flows = {run: {} for run in RUNS}  # what osproxy says
RULE = {"name": "looks", "remove_header": "x-nothing-has-it"}


def setUpModule():
    global origins
    origins = Origins(wanted)
    measure("direct", direct, f"{origins.dir}/ca.pem")
    rules = f"{origins.dir}/rules.json"
    with open(rules, "w", encoding="utf-8") as file:
        json.dump({"rules": [RULE]}, file)
    go_through("unasked")
    go_through("asked", "--config", rules)


def go_through(run, *options):
    # Chromium closes connections that it turns out not to need, some before they are used: three of them would be taken for refusals.
    with Osproxy(origins.world, FILTER, "--passthrough-ttl", "0", *options) as osproxy:
        measure(run, through[run], f"{origins.world.ca_dir}/root-ca.pem")
        until = time.monotonic() + PATIENCE
        while not agree(osproxy, run) and time.monotonic() < until:  # else the tests say where they do not
            time.sleep(0.2)
        for flow in of_cells(osproxy):
            flows[run].setdefault(identity(flow["url"]), []).append(flow)


def tearDownModule():
    origins.world.close()


def identity(url):
    return path_of(url).split("/")[1]


def path_of(url):
    return "/" + url.split("/", 3)[3]


def of_cells(osproxy):
    return [flow for flow in osproxy.flows(type="http", event="end") if identity(flow["url"]).count("-") == 2]


def agree(osproxy, run):
    """Whether osproxy has as many flows as the origins had requests: each notes one a little after the program has its answer."""
    known[run] = origins.known()
    shown = collections.Counter(identity(flow["url"]) for flow in of_cells(osproxy))
    return shown == {ident: len(entries) for ident, entries in known[run].items() if ident.count("-") == 2}


def measure(name, results, trust):
    origins.forget()
    origins.new_targets([f"git-{version}-{cell}" for version in ("h1", "h2") for cell in ("upload", "chunked_upload")])
    runner = Runner(origins, trust)
    work = [task for client in sorted(wanted, key=lambda client: client not in ("chromium", "java")) for task in tasks(runner, client)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for result in pool.map(lambda task: task(), work):
            results.update(result)
    expected = {f"{client}-{version}-{cell}" for client in wanted for version, cell in cells_of(client)}
    until = time.monotonic() + PATIENCE
    while not expected <= origins.known().keys() and time.monotonic() < until:
        time.sleep(0.1)
    known[name] = settled()


def settled():
    """What the origins have noted, when nothing more comes: they note a request when its connection is done with it."""
    before, now = None, origins.known()
    while now != before:
        time.sleep(1)
        before, now = now, origins.known()
    return now


def comparable(result):
    """Without the time of the answer, which is another one in the second run."""
    return json.loads(re.sub(r"(?i)(date\W+)\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", r"\1(a time)", json.dumps(result)))


def seen(entries, ident):
    """What the origin got, in which order whatever. How much of an abandoned exchange or of an unwanted body there was is a matter of time."""
    keys = ["method", "path", "version", "headers", "trailers", "status", "complete", *LOGGED]
    keys += ["received", "sha256"] if all(entry["complete"] for entry in entries) and not ident.endswith("expect_refused") else []
    keys += ["slow"] if ident.endswith("slow_writer") else []
    return sorted(json.dumps([entry.get(key) for key in keys]) for entry in entries)


class Matrix(unittest.TestCase):
    maxDiff = 4000

    def check(self, client):
        if client not in wanted:
            self.skipTest("OSPROXY_MATRIX")
        for run in RUNS:
            for version, name in cells_of(client):
                ident = f"{client}-{version}-{name}"
                with self.subTest(run=run, version=version, cell=name):
                    self.assertIn(ident, direct)
                    self.assertEqual(comparable(through[run].get(ident)), comparable(direct[ident]))
                    self.check_sense(client, name, ident, direct[ident])
                    self.assertEqual(seen(known[run].get(ident, []), ident), seen(known["direct"].get(ident, []), ident))
                    self.check_flows(client, version, name, run)

    def check_sense(self, client, name, ident, result):
        """Two equal failures are no success."""
        self.assertNotIn("failed", result)
        self.assertNotEqual(result.get("exit"), "endless")
        failing = ("_abort", "_reset", "not_modified")  # wget ends with 8 after 304
        if not ident.endswith(failing):
            self.assertIn(result.get("exit", 0), (0, [0, 0]), result)
            self.assertNotIn("error", result)
        if client != "git":  # which has 200 for what it pushes
            self.assertIn(CELLS[name].statuses[0], [entry["status"] for entry in known["direct"][ident]])
        if name == "slow_server" and client not in ("git", "apt"):
            self.assertIn(result["slow"], (True, "true"))
        if name == "slow_writer":
            self.assertTrue(all(entry["slow"] for entry in known["direct"][ident]))

    def check_flows(self, client, version, name, run):
        ident = f"{client}-{version}-{name}"
        cell, seen_by_us = CELLS[name], flows[run].get(ident, [])
        self.assertTrue(seen_by_us, "no flow")
        for flow in seen_by_us:
            self.assertRegex(flow["process"]["name"], f"^({CLIENTS[client].process})$")
            self.assertEqual(flow["http_version"], {"h1": "1.1", "h2": "2"}[version])
        failed = [flow["error"] for flow in seen_by_us if flow["error"] is not None]
        for error in failed:
            self.assertTrue(cell.error, f"an error where there should be none: {error}")
            self.assertRegex(error, cell.error)
        self.assertEqual(bool(failed), bool(cell.error), "aborted, and no flow says so")
        entries = known[run].get(ident, [])
        whole = client == "git" or cell.origin in ("own", "nghttpd")  # nginx passes on with headers of its own, or logs but two
        told = [told_by_flow(flow, name, whole) for flow in seen_by_us]
        self.assertEqual(sorted(map(json.dumps, told)), sorted(json.dumps(told_by_origin(entry, name, whole)) for entry in entries))
        for flow in seen_by_us:
            self.check_answer(flow, version, name, ident)
            if version == "h2" or "request_trailers" in flow:
                self.assertIn(flow.get("request_trailers", []), [pairs(entry.get("trailers", [])) for entry in entries])

    def check_answer(self, flow, version, name, ident):
        """What every origin adds to its answers."""
        headers = {field.lower(): value for field, value in flow["response_headers"]}
        if name == "nghttpd":
            self.assertRegex(headers["server"], "^nghttpd nghttp2/")
        else:
            self.assertIn(headers["x-answer"], [f"{ident} by nginx", f"{ident} by node"])
        if version == "h2" or "response_trailers" in flow:
            self.assertEqual(flow.get("response_trailers", []), [["x-check", "42"]] if name in ("trailers", "nghttpd") else [])


def pairs(words):
    """A list of names and values as it is in Node: of the headers, without HTTP/2's own."""
    return [[name, value] for name, value in zip(words[::2], words[1::2]) if not name.startswith(":")]


# A flow and the line of an origin's log that tell of one request, in the same form.

def told_by_flow(flow, name, whole):
    sizes = told_sizes(flow["error"] is None, name, flow["request_bytes"], flow["response_bytes"])
    return [flow["method"], path_of(flow["url"]), flow["status"], told_headers(flow["request_headers"], whole), sizes]


def told_by_origin(entry, name, whole):
    headers = pairs(entry["headers"]) if "headers" in entry else [[field, entry[field]] for field in LOGGED if entry[field]]
    return [entry["method"], entry["path"], entry["status"], told_headers(headers, whole),
            told_sizes(entry["complete"], name, entry["received"], entry["sent"])]


def told_headers(headers, whole):
    return headers if whole else sorted([field.lower(), value] for field, value in headers if field.lower() in LOGGED)


def told_sizes(complete, name, received, sent):
    """How much there was of what was broken off is a matter of time; so is whether a body comes that nobody wants."""
    return ["broken off"] if not complete else [sent] if name == "expect_refused" else [received, sent]


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
