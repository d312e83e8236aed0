"""DNS of intercepted programs as flows: passive copies, for a resolver elsewhere and for one on the loopback."""
import json
import os
import re
import select
import signal
import subprocess
import time
import unittest

from harness import CLIENT_V4, OSPROXY, PATIENCE, V4, Osproxy, World, main, run, tree_of, wait_for

world = None
LOCAL = "127.0.0.53"
ONLY_V4 = "four.test"


def setUpModule():
    global world
    world = World()
    for where, address in ((world.origin, "192.0.2.2"), (world.client, LOCAL)):
        world.spawn(["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address", address, "--conf-file=/dev/null",
                     "--host-record=one.test,192.0.2.2,2001:db8::2", f"--host-record={ONLY_V4},192.0.2.2", f"--local=/{ONLY_V4}/",
                     "--cname=www.test,one.test", "--txt-record=one.test,hello you", "--pid-file="],
                    where=where)
        wait_for(lambda: world.run("dig", "+short", "+tries=1", "+time=1", f"@{address}", "one.test", check=False).stdout == "192.0.2.2\n", "dnsmasq")


def tearDownModule():
    world.close()


def resolving(server, *command):
    """`command` with a resolv.conf that names `server`."""
    path = f"{world.dir}/resolv-{server}"
    with open(path, "w") as file:
        file.write(f"nameserver {server}\noptions timeout:{PATIENCE} attempts:1\n")
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', path, *command]


def lookups(path):
    """Types of the lookups of ONLY_V4 in a text of flows."""
    with open(path) as file:
        return re.findall(rf" dns (A+) {ONLY_V4} → ", file.read())


# Sends COUNT datagrams from ADDRESS, port 53, to a port where nobody has asked.
FLOOD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
for _ in range(int(sys.argv[3])):
    s.sendto(b"x" * 100, (sys.argv[2], 40000))
"""


def received_datagrams():
    """By the client's kernel, for somebody or nobody."""
    lines = [line.split() for line in world.run("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Udp:")]
    counters = dict(zip(*lines))
    return int(counters["InDatagrams"]) + int(counters["NoPorts"])


def listening_threads(pid):
    """Of the broker: those that read copies of DNS, by name, as folders of /proc."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        name = open(f"/proc/{pid}/task/{thread}/comm").read().strip()
        if name in ("names", "answers"):
            found.setdefault(name, []).append(int(thread))
    return found


def times_woken(pid):
    total = 0
    for threads in listening_threads(pid).values():
        for thread in threads:
            text = open(f"/proc/{pid}/task/{thread}/status").read()
            total += int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return total


class Follow(unittest.TestCase):
    """osproxy who --follow: which program connects next, seen on copies."""

    def follow(self, *words, server="192.0.2.2"):
        command = resolving(server, OSPROXY, "who", "--follow", *words)
        process = world.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        said = process.stderr.readline()
        self.assertTrue(said.startswith("osproxy: new connections "), said)
        return process, said

    def line(self, process):
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
        self.assertTrue(readable, "no line came")
        return process.stdout.readline()

    def curl(self, host, *more, server="192.0.2.2"):
        return world.run(*resolving(server, "curl", "-4sS", *more, f"http://{host}/"))

    def test_by_host(self):
        """Others do not show, and the program's own lookup is enough where the name means another address here."""
        process, said = self.follow("www.test", "-f", "jsonl")
        for text in ("at 'www.test' (", "192.0.2.2", "2001:db8::2"):
            self.assertIn(text, said)
        self.curl("nosuch.test", "--connect-to", "::192.0.2.3:80")
        self.curl("www.test")
        line = json.loads(self.line(process))
        self.assertEqual((line["remote"], line["host"], line["protocol"]), ("192.0.2.2:80", "www.test", "tcp"))
        self.assertEqual((line["process"]["name"], line["process"]["user"]), ("curl", "root"))
        self.assertIn("http://www.test/", line["process"]["argv"])

    def test_a_name_that_resolves_only_later(self):
        for server in ("192.0.2.2", LOCAL):
            with self.subTest(server):
                process, said = self.follow("*.test", "-f", "jsonl", server=server)
                self.assertIn("at '*.test', none", said)
                self.curl("www.test", server=server)
                self.assertEqual(json.loads(self.line(process))["host"], "www.test")

    def test_what_looks_like_an_answer_names_nothing(self):
        """Only what answers a question that was asked here counts."""
        process, _ = self.follow("bank.test", "-f", "jsonl")
        answer = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('192.0.2.3', 53))\n"
                  "head = b'\\0\\1\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0\\4bank\\4test\\0\\0\\1\\0\\1'\n"
                  "s.sendto(head + b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x09\\0\\4' + socket.inet_aton('192.0.2.2'), ('192.0.2.1', 40000))")
        world.run("/usr/bin/python3", "-c", answer, where=world.origin)
        self.curl("one.test")
        world.run("dig", "+short", "+tries=1", "@192.0.2.2", "bank.test")
        process.send_signal(signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.communicate()[0], "")

    def test_by_program_and_as_text(self):
        process, _ = self.follow("=curl")
        self.assertEqual(self.line(process).split(), ["TIME", "PID", "USER", "REMOTE", "PROCESS"])
        world.run("/usr/bin/python3", "-c", "import socket; socket.create_connection(('192.0.2.2', 80))")
        self.curl("www.test")
        self.assertRegex(self.line(process), r"^\d\d:\d\d:\d\d +\d+  root +192\.0\.2\.2:80 www\.test +/usr/bin/curl\n$")

    def test_beside_a_run_and_beside_another(self):
        """Neither needs the other's place, and what is intercepted shows as well."""
        first, _ = self.follow(":80", "-f", "jsonl")
        second, _ = self.follow("192.0.2.2", "-f", "jsonl")
        with Osproxy(world, "curl") as osproxy:
            self.curl("www.test")
            osproxy.wait_for_flow(type="http")
            for process in (first, second):
                self.assertEqual(json.loads(self.line(process))["process"]["name"], "curl")
                os.killpg(process.pid, signal.SIGINT)
                process.wait()

    def test_nothing_stays(self):
        process, _ = self.follow()
        self.assertIn("osproxy_who_", world.tables())
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        wait_for(lambda: world.tables() == "", "the table to go")

    def test_a_reader_that_goes_ends_it(self):
        process, _ = self.follow("-f", "jsonl")
        process.stdout.close()
        self.curl("www.test")
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_the_part_that_reads_names_is_nobody_and_confined(self):
        process, _ = self.follow()
        def printer():
            for status in tree_of(process.pid):
                with open(f"/proc/{status}/status") as file:
                    text = file.read()
                if "\nUid:\t65534" in text:
                    return text
            return None
        text = wait_for(printer, "the printing process")
        self.assertIn("\nSeccomp:\t2\n", text)
        self.assertIn("\nCapEff:\t0000000000000000\n", text)


class Dns(unittest.TestCase):
    def ask(self, osproxy, *question):
        """The flow of a question. Copies are a bonus: on a machine with more to do than it can, one is too late to tell whose a
        socket was that is closed by then, so it is asked again."""
        seen = len(osproxy.flows(type="dns", event="end"))

        def asked():
            world.run("dig", "+tries=1", "+time=1", *question, check=False)
            wait = time.monotonic() + 2
            while time.monotonic() < wait:
                if flows := osproxy.flows(type="dns", event="end")[seen:]:
                    return flows
                time.sleep(0.05)
            return None
        return wait_for(asked, f"a flow of {question}; osproxy said: {osproxy.stderr()}")[0]

    def test_question_and_answers_are_a_flow_of_the_program_that_asked(self):
        for server in ("192.0.2.2", LOCAL):
            with self.subTest(server), Osproxy(world, "curl") as osproxy:
                answer = world.run(*resolving(server, "curl", "-sS", "http://www.test/"))
                self.assertEqual(answer.stdout, "hello from www.test\n")
                flows = osproxy.wait_for_flows(2, type="dns")
                found = {flow["question"]["type"]: flow for flow in flows}
                self.assertEqual(set(found), {"A", "AAAA"})
                self.assertEqual([(a["type"], a["data"]) for a in found["A"]["answers"]], [("CNAME", "one.test"), ("A", "192.0.2.2")])
                for flow in flows:
                    self.assertEqual((flow["question"]["name"], flow["rcode"], flow["error"]), ("www.test", "NOERROR", None))
                    self.assertEqual((flow["process"]["name"], flow["server"]), ("curl", f"{server}:53"))
                    self.assertTrue(0 <= flow["duration_ms"] < PATIENCE * 1000, flow)

    def test_names_label_raw_connections(self):
        server = world.python("import socket\ns = socket.create_server(('192.0.2.2', 8025))\nwhile True:\n c, _ = s.accept(); c.sendall(b'220 hello\\r\\n'); c.close()",
                              where=world.origin)
        self.addCleanup(server.kill)
        script = "import socket; s = socket.create_connection((socket.gethostbyname('www.test'), 8025), 60); print(s.recv(100))"
        path = f"{world.dir}/names.pcapng"
        with Osproxy(world, "python", "--pcap", path) as osproxy:
            def named():
                world.run(*resolving("192.0.2.2", "/usr/bin/python3", "-c", script), check=False)
                return osproxy.flows(type="tcp", host="www.test")
            # On a machine with more to do than it can, the copy of an answer is later than the connection.
            self.assertEqual(wait_for(named, "a connection with a name")[0]["server"], "192.0.2.2:8025")
        # Wireshark has the names as well, from the file itself.
        shown = run("tshark", "-2", "-N", "n", "-r", path, "-Y", "tcp.dstport == 8025", "-T", "fields", "-e", "ip.dst_host").stdout.split()
        self.assertEqual(set(shown), {"www.test"})

    def test_what_a_rule_lets_pass_has_names_as_well(self):
        """Who only wants to know which program talks to whom."""
        path = f"{world.dir}/pass.json"
        with open(path, "w") as file:
            file.write('{"rules": [{"process": "curl", "action": "pass"}]}')
        with Osproxy(world, "curl", "--config", path) as osproxy:
            def named():
                world.run(*resolving("192.0.2.2", "curl", "-4sS", "http://www.test/"))
                return osproxy.flows(type="pass", host="www.test")
            self.assertEqual(wait_for(named, "a connection with a name")[0]["server"], "192.0.2.2:80")
            flow = osproxy.wait_for_flow(type="dns")
            self.assertEqual((flow["question"]["name"], flow["decision"], flow["reason"]), ("www.test", "pass", "rules[0]"))

    def test_over_tcp_as_well(self):
        with Osproxy(world, "=dig") as osproxy:
            self.assertEqual(world.run("dig", "+tcp", "+short", "@192.0.2.2", "www.test").stdout, "one.test.\n192.0.2.2\n")
            flow = osproxy.wait_for_flow(type="dns")
            self.assertEqual((flow["question"], flow["rcode"], flow["error"]), ({"name": "www.test", "type": "A"}, "NOERROR", None))
            self.assertEqual([(a["type"], a["data"]) for a in flow["answers"]], [("CNAME", "one.test"), ("A", "192.0.2.2")])
            self.assertEqual(osproxy.wait_for_flow(type="tcp")["server"], "192.0.2.2:53")
            # The name server has the address that was looked up; nobody asks it because of that name.
            world.run("dig", "+tcp", "+short", "@192.0.2.2", "two.test")
            self.assertEqual([flow["host"] for flow in osproxy.wait_for_flows(2, type="tcp")], [None, None])

    def test_other_programs_are_not_listened_to(self):
        with Osproxy(world, "curl") as osproxy:
            world.run("dig", "+short", "@192.0.2.2", "one.test")
            world.run(*resolving("192.0.2.2", "curl", "-sS", "http://one.test/"))
            osproxy.wait_for_flows(2, type="dns")
            self.assertEqual({flow["process"]["name"] for flow in osproxy.flows(type="dns")}, {"curl"})

    def test_no_such_name_and_no_answer(self):
        with Osproxy(world, "dig", jsonl=False, check=True) as osproxy:
            pass
        with Osproxy(world, "=dig") as osproxy:
            flow = self.ask(osproxy, "@192.0.2.2", "nowhere.invalid")
            self.assertEqual(flow["question"]["name"], "nowhere.invalid")
            self.assertIn(flow["rcode"], ("NXDOMAIN", "REFUSED"))
            world.run("dig", "+tries=1", "+time=1", "@192.0.2.77", "one.test", check=False)
            self.assertEqual(osproxy.wait_for_flow(type="dns", error="no answer")["rcode"], None)

    def exec_dig(self, *arguments):
        """The flows of a run that ends with the command; of another one when its copy came too late."""
        path = f"{world.dir}/exec-dig.jsonl"
        for _ in range(5):
            if flows := self.exec_dig_once(path, *arguments):
                break
        return flows

    @staticmethod
    def exec_dig_once(path, *arguments):
        world.run(OSPROXY, "exec", "--ca-dir", world.ca_dir, "--engine", "packet", "-f", "jsonl", "-o", path, "--", "dig", "+tries=1", *arguments, check=False)
        with open(path) as file:
            return [json.loads(line) for line in file if '"type":"dns"' in line]

    def test_what_was_asked_when_the_run_ends(self):
        """Sooner than the five seconds after which a question counts as unanswered."""
        flow, = self.exec_dig("+time=1", "@192.0.2.77", "one.test")
        self.assertEqual((flow["question"], flow["rcode"], flow["error"]), ({"name": "one.test", "type": "A"}, None, "no answer"))
        for _ in range(5):
            flow, = self.exec_dig("@192.0.2.2", "one.test")
            self.assertEqual((flow["rcode"], flow["error"]), ("NOERROR", None))

    def test_malformed_answers(self):
        script = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('192.0.2.3', 53))\n"
                  "while True:\n d, a = s.recvfrom(4000); s.sendto(d[:2] + b'\\x81\\x80' + b'no message', a)")
        server = world.python(script, where=world.origin)
        self.addCleanup(server.kill)
        wait_for(lambda: "192.0.2.3:53 " in world.run("ss", "-Huln", where=world.origin).stdout, "the server")
        flow, = self.exec_dig("+time=1", "@192.0.2.3", "one.test")
        self.assertEqual((flow["rcode"], flow["error"]), (None, "malformed answer"))

    def test_text(self):
        path = f"{world.dir}/dns.txt"
        with Osproxy(world, "curl", "--output", path, jsonl=False):
            world.run(*resolving("192.0.2.2", "curl", "-4sS", "http://one.test/"))
            wait_for(lambda: "GET http://one.test/" in open(path).read(), "the flow")
        self.assertRegex(open(path).read(), r"(?m)^(\d\d:){2}\d\d curl\[\d+\] dns A one\.test → 192\.0\.2\.2 \S+$")

    def test_text_leaves_out_an_empty_answer_beside_one_with_addresses(self):
        """At detail 1; alone it is shown, at the end of the run if nothing else comes."""
        ask = f"import socket\nfor _ in range(2): socket.getaddrinfo('{ONLY_V4}', 80)"
        for detail, kinds in (("1", {"A"}), ("2", {"A", "AAAA"})):
            path = f"{world.dir}/empty-{detail}.txt"
            with Osproxy(world, "python", "-d", detail, "--output", path, jsonl=False):
                world.run(*resolving("192.0.2.2", "/usr/bin/python3", "-c", ask))
                wait_for(lambda path=path, kinds=kinds: len(lookups(path)) >= 2 * len(kinds), "the lookups")
            self.assertEqual(set(lookups(path)), kinds)
            self.assertEqual(len(lookups(path)), 2 * len(kinds))
        path = f"{world.dir}/alone.txt"

        def shown():
            with Osproxy(world, "=dig", "--output", path, jsonl=False):
                world.run("dig", "@192.0.2.2", ONLY_V4, "AAAA")
            return "dns" in open(path).read()
        wait_for(shown, "the lookup")
        self.assertRegex(open(path).read(), rf"(?m) dns AAAA {ONLY_V4} → no such records ")

    def test_a_strangers_answers_are_not_copied(self):
        count = 20000
        with Osproxy(world, "=dig") as osproxy:
            threads = listening_threads(osproxy.broker())
            self.assertEqual(len(threads.get("answers", [])), 1, threads)
            self.assertEqual(os.sched_getscheduler(threads["answers"][0]), os.SCHED_OTHER)
            before, woken, started = received_datagrams(), times_woken(osproxy.broker()), time.monotonic()
            world.run("/usr/bin/python3", "-c", FLOOD, V4[1], CLIENT_V4, str(count), where=world.origin)
            flow = self.ask(osproxy, "@192.0.2.2", "one.test")
            wait_for(lambda: received_datagrams() - before > count / 2, "the flood's arrival")
            woken = times_woken(osproxy.broker()) - woken
            # They wake up ten times a second by themselves.
            own = sum(map(len, threads.values())) * (time.monotonic() - started) * 10
            self.assertLess(woken, own * 2 + 100)
            self.assertEqual((flow["question"]["name"], flow["rcode"]), ("one.test", "NOERROR"))

    def test_bursts_are_seen_and_nobody_waits(self):
        """Copies are a bonus: on a machine with more to do than it can, one or the other is too late to tell whose it was."""
        count = 200
        script = f"for i in $(seq {count}); do echo n$i.test; done | xargs -n1 -P8 dig +short +time=20 @192.0.2.2 > /dev/null"
        with Osproxy(world, "=dig") as osproxy:
            started = time.monotonic()
            world.run("sh", "-c", script)
            self.assertLess(time.monotonic() - started, PATIENCE)
            expected = {f"n{i}.test" for i in range(1, count + 1)}
            seen = {flow["question"]["name"] for flow in osproxy.wait_for_flows(count * 9 // 10, type="dns")}
            self.assertLessEqual(seen, expected)
            self.assertGreaterEqual(len(seen), count * 9 // 10)


if __name__ == "__main__":
    main()
