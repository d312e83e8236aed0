"""Packet-filter rules of others on the machine: they have the last word about every connection, also by its owner."""
import contextlib
import json
import os
import signal
import unittest

from containers import in_user_namespace, let_go
from harness import OSPROXY, PATIENCE, V4, V6, Osproxy, World, main, run, wait_for

world = None
# A user, a group and a supplementary group of programs; no entries in the password file are needed.
USER, GROUP, MORE = 61111, 61112, 61113
LIMIT = 2.5
PROXY = f"{V4[1]}:1080"

CONNECT = """
import os, socket, sys
uid, gid, more, address, limit = sys.argv[1:6]
os.setgroups([int(more)]); os.setgid(int(gid)); os.setuid(int(uid))
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
s.settimeout(float(limit))
try:
    s.connect((address, 80))
    s.sendall(b"GET / HTTP/1.0\\r\\nHost: one.test\\r\\n\\r\\n")
    print(0, "hello" in s.makefile().read())
except socket.timeout:
    print("timeout", False)
except OSError as error:
    print(error.errno, False)
"""


def setUpModule():
    global world
    world = World()
    names = f"/etc/netns/{world.origin}"
    os.makedirs(names)
    with open(f"{names}/hosts", "w") as file:
        file.write(f"127.0.0.1 localhost\n{V4[0]} one.test\n")
    # Not nsenter: `ip netns exec` shows it that file as /etc/hosts.
    world.spawn(["ip", "netns", "exec", world.origin, "microsocks", "-i", V4[1], "-p", "1080"], where=world.origin)
    wait_for(lambda: world.run("bash", "-c", f"exec 3<>/dev/tcp/{PROXY.replace(':', '/')}", check=False).returncode == 0, "the proxy")
    # Counts what arrives, but not from the proxy; nothing of a program that may not leave does.
    world.run("nft", "-f", "-", where=world.origin, input="""table inet seen {
        chain c { type filter hook input priority -200; iifname != "lo" tcp dport { 80, 443 } tcp flags syn / fin,syn,rst,ack counter; }
        }
""")


def tearDownModule():
    names = f"/etc/netns/{world.origin}"
    world.close()
    os.remove(f"{names}/hosts")
    os.rmdir(names)


def arrived():
    """SYNs to its web server that have come to the origin."""
    text = world.run("nft", "list", "table", "inet", "seen", where=world.origin).stdout
    return int(text.split("counter packets ")[1].split()[0])


def connect(uid=USER, gid=GROUP, more=MORE, address=V4[0], limit=LIMIT):
    """errno of the program's attempt ("timeout": nobody answered in time), and whether it got its page."""
    words = world.run("/usr/bin/python3", "-c", CONNECT, str(uid), str(gid), str(more), address, str(limit)).stdout.split()
    return (words[0] if words[0] == "timeout" else int(words[0])), words[1] == "True"


@contextlib.contextmanager
def nft(*rules, priority=0):
    """A table of somebody else's; loopback is let through before anything else, as most firewalls do."""
    lines = "\n".join(rules)
    world.run("nft", "-f", "-", input=f"table inet theirs {{\nchain o {{\ntype filter hook output priority {priority};\noif lo accept\n{lines}\n}}\n}}\n")
    try:
        yield
    finally:
        world.run("nft", "delete", "table", "inet", "theirs")


@contextlib.contextmanager
def iptables(program, *rule):
    """A rule of iptables, behind one that lets loopback through."""
    lines = [["-A", "OUTPUT", "-o", "lo", "-j", "ACCEPT"], ["-A", "OUTPUT", *rule]]
    for line in lines:
        world.run(program, *line)
    try:
        yield
    finally:
        world.run(program, "-F", "OUTPUT")


BY_OWNER = {
    "nft skuid drop": lambda: nft(f"meta skuid {USER} drop"),
    "nft skuid reject": lambda: nft(f"meta skuid {USER} reject"),
    "nft skuid reset": lambda: nft(f"meta skuid {USER} meta l4proto tcp reject with tcp reset"),
    "nft skgid reject": lambda: nft(f"meta skgid {GROUP} reject"),
    "nft all but one user": lambda: nft("meta skuid != 0 reject"),
    "nft before ours": lambda: nft(f"meta skuid {USER} reject", priority=-160),
    "nft behind ours": lambda: nft(f"meta skuid {USER} reject", priority=300),
    "legacy uid": lambda: iptables("iptables-legacy", "-m", "owner", "--uid-owner", str(USER), "-j", "REJECT"),
    "legacy gid": lambda: iptables("iptables-legacy", "-m", "owner", "--gid-owner", str(GROUP), "-j", "REJECT"),
    "legacy supplementary": lambda: iptables("iptables-legacy", "-m", "owner", "--gid-owner", str(MORE), "--suppl-groups", "-j", "REJECT"),
    "iptables over nft": lambda: iptables("iptables-nft", "-m", "owner", "--uid-owner", str(USER), "-j", "REJECT"),
}
BY_DESTINATION = {
    "nft drop": lambda: nft(f"ip daddr {V4[0]} tcp dport 80 drop"),
    "nft reject": lambda: nft(f"ip daddr {V4[0]} tcp dport 80 reject"),
    "nft reset": lambda: nft(f"ip daddr {V4[0]} tcp dport 80 reject with tcp reset"),
}


class Firewall(unittest.TestCase):
    def check(self, rules, engine):
        for name, rule in rules.items():
            with self.subTest(name, engine=engine), rule():
                before = arrived()
                expected, got = connect()
                self.assertFalse(got)
                self.assertNotEqual(expected, 0)
                with Osproxy(world, "python", "--engine", engine) as osproxy:
                    found, got = connect()
                    self.assertFalse(got)
                    # The redirect engine has accepted by then.
                    if engine == "packet":
                        self.assertEqual(found, expected)
                self.assertEqual(arrived(), before, f"{name}: it left all the same\n{osproxy.stderr()}")

    def test_packet_engine(self):
        self.check({**BY_OWNER, **BY_DESTINATION}, "packet")

    def test_redirect_engine(self):
        self.check({**BY_OWNER, **BY_DESTINATION}, "redirect")

    def test_redirect_engine_of_programs_that_were_not_chosen(self):
        with nft(f"meta skuid {USER} reject"):
            before = arrived()
            with Osproxy(world, "nothing-like-this", "--engine", "redirect"):
                self.assertFalse(connect()[1])
                self.assertEqual(connect(uid=USER + 1), (0, True))
            self.assertEqual(arrived(), before + 1)

    def test_whoever_may_leave_is_intercepted(self):
        """Also where osproxy's own user and group may not."""
        for engine in ("packet", "redirect"):
            with self.subTest(engine), nft(f"meta skuid != {{ 0, {USER} }} drop", f"meta skuid {USER} meta skgid != {GROUP} drop"):
                with Osproxy(world, "python", "--engine", engine) as osproxy:
                    for address in (V4[0], V6[0]):
                        self.assertEqual(connect(address=address, limit=20), (0, True))
                    self.assertEqual(len(osproxy.wait_for_flows(2, type="http")), 2)

    def test_marks_of_programs_are_kept_and_ours_is_not_seen(self):
        script = CONNECT.replace("s.settimeout", "s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 5); s.settimeout").replace("os.setuid(int(uid))", "")
        for engine in ("packet", "redirect"):
            with self.subTest(engine), nft("tcp dport 80 meta mark != 5 reject"):
                with Osproxy(world, "python", "--engine", engine) as osproxy:
                    answer = world.run("/usr/bin/python3", "-c", script, "0", "0", "0", V4[0], "20").stdout
                    self.assertEqual(answer.split(), ["0", "True"], osproxy.stderr())
                    osproxy.wait_for_flow(type="http")

    def curl(self, *more):
        """Whether it got its page, not one of ours."""
        become = ["setpriv", "--reuid", str(USER), "--regid", str(GROUP), "--clear-groups"]
        return world.run(*become, *world.curl_command("https://one.test/", *more), check=False).stdout == "hello from one.test\n"

    def config(self, name, rules):
        path = f"{world.dir}/{name}.json"
        with open(path, "w") as file:
            json.dump({"rules": rules}, file)
        return ["--config", path]

    def test_what_goes_straight_although_there_is_a_proxy(self):
        """The proxy is osproxy's way, and judged as such; what does not take it leaves as its program would."""
        host = {"host": "one.test"}
        ways = {
            "passes by host": (self.config("pass", [{**host, "action": "pass"}]), 0),
            "direct by host": (self.config("direct", [{**host, "action": "intercept", "upstream": "direct"}]), 0),
            "learned": (["--passthrough-after", "1"], 1),
        }
        allowed = f"meta skuid != {USER} tcp dport {{ 80, 443 }} reject"
        for engine in ("packet", "redirect"):
            for scheme in ("socks5", "socks5h"):
                for name, (options, refusals) in ways.items():
                    with self.subTest(name, engine=engine, scheme=scheme):
                        with Osproxy(world, "curl", "--engine", engine, "--upstream-proxy", f"{scheme}://{PROXY}", *options) as osproxy:
                            for _ in range(refusals):
                                self.assertFalse(self.curl("--pinnedpubkey", "sha256//" + "A" * 43 + "="))
                                osproxy.wait_for_flow(type="tls_error")
                            before = arrived()
                            with nft(f"meta skuid {USER} tcp dport {{ 80, 443 }} reject"):
                                self.assertFalse(self.curl())
                            self.assertEqual(arrived(), before, f"it left all the same\n{osproxy.stderr()}")
                            with nft(allowed):
                                self.assertTrue(self.curl(), osproxy.stderr())
                            self.assertEqual(arrived(), before + 1)


class UserNamespace(unittest.TestCase):
    def test_groups_that_have_other_numbers_outside(self):
        """As in containers (LXD, rootless podman): the kernel tells of a held packet by which group its program runs outside."""
        program, said = 1000, f"{world.dir}/namespace.stderr"
        flows = f"{world.dir}/namespace.jsonl"
        command = [OSPROXY, "run", "--allow-untrusted", "curl", "--engine", "packet", "--ca-dir", f"{world.dir}/ca-of-namespace", "--format", "jsonl", "--output", flows]
        inside = in_user_namespace(self, command, "0 0 1\n1 100001 65535\n", said)
        run("ip", "-n", world.origin, "link", "add", "u0", "type", "veth", "peer", "name", "u0", "netns", str(inside.pid))
        enter = ["nsenter", f"--net=/proc/{inside.pid}/ns/net"]
        for words, address in ((["ip", "-n", world.origin], "198.51.100.2/24"), ([*enter, "ip"], "198.51.100.1/24")):
            run(*words, "addr", "add", address, "dev", "u0")
            run(*words, "link", "set", "u0", "up")
        let_go(inside, said)
        become = ["nsenter", f"--user=/proc/{inside.pid}/ns/user", f"--net=/proc/{inside.pid}/ns/net",
                  "setpriv", "--reuid", str(program), "--regid", str(program), "--clear-groups"]
        answer = run(*become, "curl", "-sS", "-m", "60", "http://198.51.100.2/", check=False)
        self.assertEqual(answer.stdout, "hello from 198.51.100.2\n", answer.stderr + open(said).read())
        refused = run(*become, "curl", "-sS", "-m", "60", "http://198.51.100.2:9/", check=False)
        self.assertEqual(refused.returncode, 7, refused.stderr)  # CURLE_COULDNT_CONNECT: it was not osproxy that took the connection
        inside.send_signal(signal.SIGINT)
        self.assertEqual(inside.wait(PATIENCE), 0)
        self.assertIn('"http://198.51.100.2/"', open(flows).read())
        self.assertNotIn("cannot make a socket", open(said).read())


if __name__ == "__main__":
    main()
