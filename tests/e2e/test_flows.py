"""What is recorded of flows: JSON lines against their schema, bodies, odd bytes, pcap, text in all its details, colours."""
import base64
import json
import os
import pty
import re
import subprocess
import threading
import unittest

import jsonschema

from harness import ENGINE, PATIENCE, TOP, Osproxy, World, main, run, wait_for

world = None

# Sends standard input to ADDRESS PORT and prints what comes back.
RAW_CLIENT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
s.sendall(sys.stdin.buffer.read())
while chunk := s.recv(65536):
    sys.stdout.buffer.write(chunk)
"""

# Answers at once that it will answer, and answers when a line comes on standard input.
WAITING_SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
connection, _ = listener.accept()
connection.recv(4096)
connection.sendall(b"HTTP/1.1 103 Early Hints\\r\\nLink: </style.css>\\r\\n\\r\\n")
sys.stdin.readline()
connection.sendall(b"HTTP/1.1 200 Well\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
"""


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def schema():
    with open(f"{TOP}/conf/flow.schema.json") as file:
        return jsonschema.Draft202012Validator(json.load(file))


def send_raw(text, address="192.0.2.2", port=80):
    """`text` stands for bytes (latin-1)."""
    return world.run("/usr/bin/python3", "-c", RAW_CLIENT, address, str(port), input=text, encoding="latin-1").stdout


class Jsonl(unittest.TestCase):
    def test_every_type_of_flow_is_valid(self):
        config = f"{world.dir}/rules.json"
        with open(config, "w") as file:
            json.dump({"rules": [{"host": "two.test", "action": "pass"}, {"port": 8000, "action": "block"}]}, file)
        with Osproxy(world, "--config", config, "--bodies", "1k") as osproxy:
            world.curl("https://one.test/http")
            world.curl("http://one.test/moved", "-d", "a=b")
            world.curl("https://two.test/pass", trust="origin")
            world.curl("https://one.test/", trust="origin", check=False)
            world.run("curl", "-m", str(PATIENCE), "http://192.0.2.2:8000/", check=False)
            send_raw("\x00\x01\x02 no HTTP\r\n\r\n")
            osproxy.wait_for_flows(2, type="http")
            for kind in ("pass", "tls_error", "block", "tcp"):
                osproxy.wait_for_flow(type=kind)
        validator = schema()
        flows = osproxy.flows()
        for flow in flows:
            self.assertEqual([error.message for error in validator.iter_errors(flow)], [], flow)
        self.assertEqual(len({flow["id"] for flow in flows if flow["event"] == "end"}), len([f for f in flows if f["event"] == "end"]))
        self.assertEqual({flow["process"]["exe"] for flow in osproxy.flows(process_name="curl")}, {run("readlink", "-f", "/usr/bin/curl").stdout.strip()})

    def test_a_request_that_waits_is_shown_before_its_response(self):
        server = world.python(WAITING_SERVER, "192.0.2.2", 8001, where=world.origin, stdin=subprocess.PIPE)
        wait_for(lambda: "192.0.2.2:8001" in world.run("ss", "-Hltn", where=world.origin).stdout, "the server")
        with Osproxy(world, "curl", "--ports", "8001") as osproxy:
            client = world.spawn(["curl", "-sS", "http://192.0.2.2:8001/slow"])
            start = osproxy.wait_for_flow(type="http", event="start")
            self.assertEqual((start["method"], start["url"], start["status"]), ("GET", "http://192.0.2.2:8001/slow", None))
            server.communicate(b"now\n", timeout=PATIENCE)
            self.assertEqual(client.wait(PATIENCE), 0)
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual((flow["id"], flow["status"], flow["status_text"]), (start["id"], 200, "Well"))
        self.assertEqual([response["status"] for response in flow["interim"]], [103])
        times = flow["times"]
        self.assertGreater(times["response_start_ms"], 2000)
        self.assertLessEqual(times["request_end_ms"], flow["interim"][0]["at_ms"])
        self.assertLessEqual(times["response_start_ms"], times["response_end_ms"])
        self.assertLessEqual(times["response_end_ms"], flow["duration_ms"])

    def test_when_connections_were_made(self):
        with Osproxy(world, "curl") as osproxy:
            world.curl("https://one.test/http")
            times = osproxy.wait_for_flow(type="http")["times"]
        order = ["connect_start_ms", "connected_ms", "upstream_tls_ms", "tls_ms"]
        self.assertEqual([times[name] for name in order], sorted(times[name] for name in order), times)
        if ENGINE != "redirect":  # the connection begins with the one to the server
            self.assertEqual(times["connect_start_ms"], 0)
        self.assertGreater(times["connected_ms"], 0)

    def test_with_starts_every_request_has_one(self):
        with Osproxy(world, "curl", "--starts") as osproxy:
            world.curl("https://one.test/http")
            end = osproxy.wait_for_flow(type="http")
        starts = osproxy.flows(type="http", event="start")
        self.assertEqual([(flow["id"], flow["url"], flow["status"], flow["request_bytes"]) for flow in starts], [(end["id"], end["url"], None, None)])
        self.assertLess(osproxy.flows().index(starts[0]), osproxy.flows().index(end))

    def test_bodies(self):
        body = bytes(range(256)) * 8
        path = world.file("body.bin", 0)
        with open(path, "wb") as file:
            file.write(body)
        url = "https://one.test/files/body.bin"
        with Osproxy(world, "curl", "--bodies", "1M") as osproxy:
            world.run(*world.curl_command(url, "--data-binary", f"@{path}", "-X", "GET", "-o", f"{world.dir}/got", trust="osproxy"))
            flow = osproxy.wait_for_flow(type="http")
        with open(f"{world.dir}/got", "rb") as file:
            self.assertEqual(file.read(), body)
        for side in ("request", "response"):
            self.assertEqual(base64.b64decode(flow[f"{side}_body"]), body)
            self.assertEqual(flow[f"{side}_bytes"], len(body))
            self.assertIs(flow[f"{side}_body_cut"], False)
        with Osproxy(world, "curl", "--bodies", "100") as osproxy:
            world.curl(url, "-o", "/dev/null")
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual(base64.b64decode(flow["response_body"]), body[:100])
        self.assertIs(flow["response_body_cut"], True)
        self.assertEqual(flow["response_bytes"], len(body))
        with Osproxy(world, "curl") as osproxy:
            world.curl(url, "-o", "/dev/null")
            self.assertNotIn("response_body", osproxy.wait_for_flow(type="http"))

    def test_bytes_that_are_not_utf8_break_no_line(self):
        target = "/a\xff\xfe\xc3(\xed\xa0\x80?q=\x9b\x85"
        with Osproxy(world) as osproxy:
            answer = send_raw(f"GET {target} HTTP/1.1\r\nHost: one.test\r\nX-Odd: \xff\x85 \xe2\x80\xa8 \"\\\r\nConnection: close\r\n\r\n")
            self.assertIn("hello from one.test", answer)
            flow = osproxy.wait_for_flow(type="http")
        with open(osproxy.flows_path, "rb") as file:
            raw = file.read()
        self.assertEqual(raw.count(b"\n"), 1)
        self.assertEqual(len(raw.decode("utf-8").splitlines()), 1)
        self.assertEqual([error.message for error in schema().iter_errors(flow)], [])
        self.assertEqual(flow["url"], "http://one.test/a\ufffd\ufffd\ufffd(\ufffd\ufffd\ufffd?q=\ufffd\ufffd")
        self.assertIn(["X-Odd", "\ufffd\ufffd \u2028 \"\\"], flow["request_headers"])
        # The origin got the bytes as they were.
        self.assertTrue([line for line in world.access_log() if r"\xFF\xFE\xC3(\xED\xA0\x80?q=\x9B\x85" in line])


class Pcap(unittest.TestCase):
    def test_holds_the_decrypted_conversation(self):
        path = f"{world.dir}/flows.pcap"
        with Osproxy(world, "curl", "--pcap", path) as osproxy:
            world.curl("https://one.test/in-the-pcap", trust="osproxy")
            world.curl("https://one.test/in-the-pcap-6", family=6, trust="osproxy")
            osproxy.wait_for_flows(2, type="http")
        text = run("tcpdump", "-nn", "-A", "-r", path).stdout
        self.assertIn("GET /in-the-pcap HTTP/1.1", text)
        self.assertIn("hello from one.test", text)
        summary = run("tcpdump", "-nn", "-r", path).stdout
        self.assertRegex(summary, r"IP 192\.0\.2\.1\.\d+ > 192\.0\.2\.2\.443: Flags \[S\]")
        self.assertRegex(summary, r"IP6 2001:db8::1\.\d+ > 2001:db8::2\.443: Flags \[P?\.?F?S?\]")
        self.assertNotIn("incorrect", run("tcpdump", "-nn", "-vv", "-r", path).stdout)

    def test_full_disk(self):
        mount = f"{world.dir}/tiny"
        os.mkdir(mount)
        run("mount", "-t", "tmpfs", "-o", "size=64k", "none", mount)
        self.addCleanup(run, "umount", "-l", mount)
        world.file("large", 1 << 20)
        with Osproxy(world, "curl", "--pcap", f"{mount}/x.pcap") as osproxy:
            world.curl("https://one.test/files/large", "-o", "/dev/null", trust="osproxy")
            expected = (f"osproxy: --pcap {mount}/x.pcap: cannot write: No space left on device; recording to it has stopped, "
                        "interception goes on\n")
            wait_for(lambda: expected in osproxy.stderr(), "the message about the full disk")
            world.curl("https://one.test/files/large", "-o", "/dev/null", trust="osproxy")
            self.assertEqual(len(osproxy.wait_for_flows(2, type="http")), 2)
        self.assertEqual(osproxy.stderr().count("No space left"), 1)


class Text(unittest.TestCase):
    def record(self, *options, last=""):
        """What one POST, one redirect and one passed connection look like. `last`: text of the flow that is to end before osproxy does."""
        path, body = f"{world.dir}/text-{len(world.processes)}", f"{world.dir}/body.txt"
        shows_nothing = options == ("-d", "0")
        with open(body, "w") as file:
            file.write("name=value")

        def wait_for_text(text):
            """A program has its answer before the flow is written: the next one's could come first, and osproxy's end too."""
            wait_for(lambda: shows_nothing or text in open(path).read(), text)

        with Osproxy(world, "curl", "--output", path, *options, jsonl=False):
            world.curl("https://one.test/post?x=1", "-d", f"@{body}", "-H", "X-Mine: 1", trust="osproxy")
            wait_for_text("one.test/post")
            world.curl("http://two.test/moved")
            wait_for_text("two.test/moved")
            world.run("wget", "-q", "-O-", "http://192.0.2.2/wget")
            wait_for_text(last)
        with open(path) as file:
            return file.read()

    def test_detail_0_shows_nothing(self):
        self.assertEqual(self.record("-d", "0"), "")

    def test_detail_1_is_a_line_a_flow_with_its_process(self):
        lines = self.record().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], r"^(\d\d:){2}\d\d curl\[\d+\] POST https://one\.test/post\?x=1 → 200 OK 20b \S+$")
        self.assertRegex(lines[1], r"^(\d\d:){2}\d\d curl\[\d+\] GET http://two\.test/moved → 302 Found 145b \S+$")

    def test_detail_2_adds_headers_and_what_was_passed(self):
        text = self.record("-d2", "--engine", "redirect", last="wget[")
        self.assertIn("X-Mine: 1\n", text)
        self.assertIn("Server: nginx", text)
        self.assertIn("/curl (user root, parent ", text)
        self.assertRegex(text, r"(?m)^(\d\d:){2}\d\d wget\[\d+\] pass 192\.0\.2\.2:80.*: not selected by the filter curl$")
        self.assertNotIn("name=value", text)
        self.assertNotIn("hello from", text)

    def test_detail_3_and_4_add_bodies(self):
        with open(world.file("long.txt", 0), "w") as file:
            file.write("".join(f"line {i}\n" for i in range(2000)))
        for detail, whole in (("3", False), ("4", True)):
            path = f"{world.dir}/bodies-{detail}"
            with Osproxy(world, "curl", "-d", detail, "--output", path, jsonl=False):
                world.curl("https://one.test/files/long.txt", "-d", "name=value", "-X", "GET", "-o", "/dev/null", trust="osproxy")
                wait_for(lambda path=path: "long.txt" in open(path).read(), "the flow")
            with open(path) as file:
                text = file.read()
            self.assertIn("    > name=value\n", text)
            self.assertIn("    < line 1\n", text)
            self.assertEqual("line 1999" in text, whole, text[-500:])

    def test_colour_only_when_it_is_asked_for_or_on_a_terminal(self):
        self.assertNotIn("\x1b", self.record())
        self.assertNotIn("\x1b", self.record("--color", "never"))
        self.assertIn("\x1b[32m200 OK\x1b[0m", self.record("--color", "always"))

    def test_colour_on_a_terminal(self):
        for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            master, slave = pty.openpty()
            seen = []

            def drain():
                while True:
                    try:
                        data = os.read(master, 4096)
                    except OSError:
                        return
                    if not data:
                        return
                    seen.append(data)

            osproxy = Osproxy(world, "curl", jsonl=False, environment=environment)
            reader = threading.Thread(target=drain)
            with open(osproxy.stderr_path, "w") as errors:
                osproxy.process = world.spawn(osproxy.command, stdout=slave, stderr=errors, env=osproxy.environment)
            os.close(slave)
            reader.start()
            wait_for(osproxy.is_ready, "the first line")
            world.curl("https://one.test/terminal", trust="osproxy")
            wait_for(lambda: b"/terminal" in b"".join(seen), "the flow on the terminal")
            osproxy.__exit__(None, None, None)
            reader.join(PATIENCE)
            os.close(master)
            self.assertEqual(b"\x1b[32m200 OK\x1b[0m" in b"".join(seen), coloured, seen)

    def test_what_a_server_sends_cannot_drive_the_terminal(self):
        path = f"{world.dir}/hostile"
        with Osproxy(world, "-d", "4", "--output", path, jsonl=False):
            send_raw("GET /\x1b[31m\x9b31m HTTP/1.1\r\nHost: one.test\r\nX-\x7f: y\r\nConnection: close\r\n\r\n")
            send_raw("GET /ok HTTP/1.1\r\nHost: one.test\r\nX-Odd: \x1b]0;title\x07\x9b31m\r\nConnection: close\r\n\r\n")
            wait_for(lambda: b"one.test/ok" in open(path, "rb").read(), "the flow")
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
        self.assertIn("one.test/ok", text)
        self.assertEqual(re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text), [])


if __name__ == "__main__":
    main()
