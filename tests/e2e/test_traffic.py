"""What passes through arrives as it was sent: raw protocols, many connections, aborts, unreachable servers."""
import collections
import json
import os
import re
import shutil
import subprocess
import unittest

from harness import ASAN, PATIENCE, V4, Osproxy, World, main, run, wait_for

world = None
listening = None
PORTS = ["--ports", "80,443,8000-8010,9443"]

# Speaks first, then echoes lines until QUIT.
MAILER = """
import socket, threading
def serve(c):
    c.sendall(b"220 mail.test ESMTP\\r\\n")
    for line in c.makefile("rb"):
        c.sendall(b"250 " + line)
        if line.startswith(b"QUIT"): break
    c.close()
s = socket.create_server(("0.0.0.0", 8000)); print(1, flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
"""

# Takes everything, then answers with how much it was and closes: half-close must pass.
COUNTER = """
import socket, threading
def serve(c):
    n = 0
    while True:
        got = c.recv(65536)
        if not got: break
        n += len(got)
    c.sendall(b"got %d\\n" % n); c.close()
s = socket.create_server(("0.0.0.0", 8001), backlog=512); print(1, flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
"""

# Sends part of an answer, then ends as its first argument says.
QUITTER = """
import socket, struct, sys
s = socket.create_server(("0.0.0.0", 8002)); print(1, flush=True)
while True:
    c = s.accept()[0]
    request = c.recv(65536)
    how = request.split(b"/", 1)[1].split(b" ")[0].decode()
    if how.startswith("body"): c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nonly this")
    if how.startswith("head"): c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Le")
    if how.endswith("reset"): c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
"""

# Speaks first, then prints how the connection ended.
LISTENING = """
import errno, socket
s = socket.create_server(("0.0.0.0", 8003)); print(1, flush=True)
while True:
    c = s.accept()[0]; c.sendall(b"220 hello\\r\\n")
    try: print("FIN" if c.recv(100) == b"" else "bytes", flush=True)
    except OSError as error: print(errno.errorcode[error.errno], flush=True)
    c.close()
"""

# Says how a connection to a port of 192.0.2.2 fails, and when: 'connect' or 'recv'.
FAILURE = """
import errno
when = "connect"
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20); when = "recv"
    print("end" if s.recv(100) == b"" else "bytes")
except OSError as error: print(when, errno.errorcode[error.errno])
"""

# Opens argv[2] connections to each of the other arguments and prints its local port and the host for each.
CLIENT = """
import socket, sys
for i in range(int(sys.argv[1])):
    for host in sys.argv[2:]:
        s = socket.create_connection((host, 80), 60)
        print(s.getsockname()[1], host)
        s.sendall(b"GET /%d HTTP/1.1\\r\\nHost: " % i + host.encode() + b"\\r\\nConnection: close\\r\\n\\r\\n")
        got = b""
        while True:
            more = s.recv(65536)
            if not more: break
            got += more
        assert got.startswith(b"HTTP/1.1 200") and got.endswith(b"hello from " + host.encode() + b"\\n"), got
        s.close()
"""


def setUpModule():
    global world, listening
    world = World()
    listening = world.python(LISTENING, where=world.origin, stdout=subprocess.PIPE, text=True)
    listening.stdout.readline()
    for script in (MAILER, COUNTER, QUITTER):
        world.python(script, where=world.origin, stdout=subprocess.PIPE).stdout.readline()


def tearDownModule():
    world.close()


def client_script(body, *arguments, check=True):
    return world.run("/usr/bin/python3", "-c", "import socket, struct, sys\n" + body, *map(str, arguments), check=check)


class Raw(unittest.TestCase):
    def test_server_that_speaks_first(self):
        with Osproxy(world, "python", *PORTS) as osproxy:
            body = ("f = socket.create_connection(('192.0.2.2', 8000), 60).makefile('rwb', buffering=0); print(f.readline()); f.write(b'EHLO me\\r\\n');"
                    "print(f.readline()); f.write(b'QUIT\\r\\n'); print(f.readline(), f.readline())")
            lines = client_script(body).stdout.splitlines()
            self.assertEqual(lines, ["b'220 mail.test ESMTP\\r\\n'", "b'250 EHLO me\\r\\n'", "b'250 QUIT\\r\\n' b''"])
            flow = osproxy.wait_for_flow(type="tcp")
        self.assertEqual((flow["request_bytes"], flow["response_bytes"]), (15, 44))
        self.assertIsNone(flow["error"])
        self.assertEqual(len(osproxy.flows(event="start", type="tcp")), 1)

    def test_half_close_each_way_of_handling(self):
        body = ("s = socket.create_connection(('192.0.2.2', 8001), 60); s.sendall(b'\\x01\\x02' * 500000); s.shutdown(socket.SHUT_WR); "
                "print(s.makefile().read())")
        for program, kind in (("python", "tcp"), ("no-such-program", "pass")):
            with Osproxy(world, program, *PORTS, "--engine", "redirect") as osproxy:
                self.assertIn("got 1000000", client_script(body).stdout)
                flow = osproxy.wait_for_flow(type=kind)
                self.assertEqual((flow["request_bytes"], flow["response_bytes"]), (1000000, 12))

    def test_resets_of_the_program_reach_the_server(self):
        body = ("s = socket.create_connection(('192.0.2.2', 8003), 60); s.recv(100); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0));"
                "s.close()")
        for program, kind in (("python", "tcp"), ("no-such-program", "pass")):
            with Osproxy(world, program, *PORTS, "--engine", "redirect") as osproxy:
                client_script(body)
                self.assertTrue(osproxy.wait_for_flow(type=kind)["error"])
                self.assertEqual(listening.stdout.readline(), "ECONNRESET\n")


class Idle(unittest.TestCase):
    def test_a_server_that_is_silent_is_asked_whether_it_is_still_there(self):
        for program, engine in (("python", "packet"), ("python", "redirect"), ("no-such-program", "redirect")):
            with self.subTest(program=program, engine=engine), Osproxy(world, program, *PORTS, "--engine", engine):
                script = "import socket; s = socket.create_connection(('192.0.2.2', 8000)); s.recv(100); print(1, flush=True); input()"
                process = world.python(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                process.stdout.readline()
                # One is the program's own, the other is ours.
                lines = run("ss", "-N", world.client, "-tnoH", "dst", "192.0.2.2:8000").stdout.splitlines()
                self.assertEqual(len(lines), 2, lines)
                self.assertEqual(sum(bool(re.search(r"timer:\(keepalive,(59sec|1min|[45]\dsec)", line)) for line in lines), 1, lines)
                process.stdin.close()
                process.wait(PATIENCE)


class Aborts(unittest.TestCase):
    def test_server_that_breaks_off_never_looks_like_a_clean_end(self):
        """curl: 18 partial file, 52 empty reply, 56 receive failure; a 502 where nothing of the answer was passed on."""
        with Osproxy(world, "curl", *PORTS) as osproxy:
            for how in ("body", "bodyreset", "head", "headreset", "none", "nonereset"):
                answer = world.curl(f"http://192.0.2.2:8002/{how}", "-o", "/dev/null", "-w", "%{http_code}", check=False)
                failed = answer.returncode in (18, 52, 56) or answer.stdout == "502"
                self.assertTrue(failed, f"{how}: {answer}")
                flow = osproxy.wait_for_flow(url=f"http://192.0.2.2:8002/{how}")
                self.assertTrue(flow["error"], how)
            world.curl("http://one.test/alive")

    def test_passed_connections_break_as_they_would_without(self):
        for how, code in (("body", 18), ("bodyreset", 56), ("none", 52), ("nonereset", 56)):
            without = world.curl(f"http://192.0.2.2:8002/{how}", "-o", "/dev/null", check=False).returncode
            with Osproxy(world, "no-such-program", *PORTS):
                through = world.curl(f"http://192.0.2.2:8002/{how}", "-o", "/dev/null", check=False).returncode
            self.assertEqual((how, through), (how, without))

    def test_program_that_breaks_off_in_every_phase(self):
        hello = "import ssl; c = ssl._create_unverified_context(); i, o = ssl.MemoryBIO(), ssl.MemoryBIO(); t = c.wrap_bio(i, o, server_hostname='one.test')\n" \
                "try: t.do_handshake()\nexcept ssl.SSLWantReadError: pass\nhello = o.read()\n"
        phases = {
            "nothing": (443, "data = b''"),
            "half a hello": (443, hello + "data = hello[:100]"),
            "a hello": (443, hello + "data = hello"),
            "half a head": (80, "data = b'GET / HTTP/1.1\\r\\nHos'"),
            "half a body": (80, "data = b'POST /upload HTTP/1.1\\r\\nHost: one.test\\r\\nContent-Length: 1000\\r\\n\\r\\nhalf'"),
            "half a chunk": (80, "data = b'POST /upload HTTP/1.1\\r\\nHost: one.test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n40\\r\\nhalf'"),
        }
        with Osproxy(world, "python,curl", *PORTS) as osproxy:
            for how in ("", "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0));"):
                for port, data in phases.values():
                    client_script(f"{data}\ns = socket.create_connection(('192.0.2.2', {port}), 60)\ns.sendall(data)\n{how}s.close()")
            world.curl("https://one.test/alive", trust="osproxy")
            osproxy.wait_for_flow(url="https://one.test/alive")
            # Each left its trace and nothing stays open.
            wait_for(lambda: not run("ss", "-N", world.origin, "-tnH", "state", "established").stdout.strip(), "the end of all connections")

    def failure(self, port, host="192.0.2.2"):
        return client_script(FAILURE, host, port).stdout.strip()

    def test_refused_servers(self):
        """The packet engine tells connect(), the redirect engine can only reset what the kernel has connected."""
        for engine, seen in (("packet", "connect ECONNREFUSED"), ("redirect", "recv ECONNRESET")):
            with self.subTest(engine), Osproxy(world, "python", *PORTS, "--engine", engine) as osproxy:
                # On a busy machine a process may be found too late for its first packet.
                wait_for(lambda: self.failure(8009) == seen, seen)
                flow = osproxy.wait_for_flow(server="192.0.2.2:8009")
                self.assertIn("cannot connect to 192.0.2.2:8009: Connection refused", flow["error"])
        with Osproxy(world, "no-such-program", *PORTS, "--engine", "redirect") as osproxy:
            # Where the reset overtakes the answer to the SYN, connect() fails with it.
            wait_for(lambda: self.failure(8009) == "recv ECONNRESET", "a reset")
            self.assertIn("Connection refused", osproxy.wait_for_flow(type="pass")["error"])

    def test_unreachable_servers(self):
        """Nobody has this address: ARP finds out."""
        for engine, seen in (("packet", "connect EHOSTUNREACH"), ("redirect", "recv ECONNRESET")):
            with self.subTest(engine), Osproxy(world, "python", *PORTS, "--engine", engine) as osproxy:
                wait_for(lambda: self.failure(8009, "192.0.2.77") == seen, seen)
                self.assertIn("cannot connect to 192.0.2.77:8009: No route to host", osproxy.wait_for_flow(server="192.0.2.77:8009")["error"])

    def test_blocked_programs_see_a_reset(self):
        path = f"{world.dir}/block.json"
        with open(path, "w") as file:
            json.dump({"rules": [{"port": 8003, "action": "block"}, {"host": "one.test", "action": "block"}]}, file)
        for engine, seen in (("packet", "connect ECONNREFUSED"), ("redirect", "recv ECONNRESET")):
            with self.subTest(engine), Osproxy(world, "python,curl", *PORTS, "--engine", engine, "--config", path) as osproxy:
                wait_for(lambda: self.failure(8003) == seen, seen)
                osproxy.wait_for_flow(type="block", server="192.0.2.2:8003")
                # By its host: known when the program has spoken. curl: 56 receive failure, 35 failure in the handshake.
                for url, code in (("http://one.test/", 56), ("https://one.test/", 35)):
                    answer = world.curl(url, check=False)
                    self.assertEqual(answer.returncode, code, answer)
                    self.assertIn("reset", answer.stderr)
                osproxy.wait_for_flows(3, type="block")


class Many(unittest.TestCase):
    def test_4000_connections_of_two_programs_to_two_hosts(self):
        """Each connection is one flow, of the right program; each program reached the right host."""
        each = 250 if ASAN else 1000
        programs = []
        for name in ("alpha", "beta"):
            path = f"{world.dir}/{name}"
            shutil.copy(os.path.realpath("/usr/bin/python3"), path)
            programs.append(path)
        for engine in ("packet", "redirect"):
            with self.subTest(engine), Osproxy(world, "alpha", "--engine", engine) as osproxy:
                before = len(world.access_log())
                clients = [world.spawn([path, "-c", CLIENT, str(each), *V4], stdout=subprocess.PIPE, text=True) for path in programs]
                said = [client.communicate(timeout=PATIENCE * 4)[0].split("\n")[:-1] for client in clients]
                self.assertEqual([client.returncode for client in clients], [0, 0])
                osproxy.wait_for_flows(2 * each, type="http")
                # Under the packet engine what is not selected never reaches us.
                passed = 2 * each if engine == "redirect" else 0
                if passed:
                    osproxy.wait_for_flows(passed, type="pass")
                flows = osproxy.flows(event="end")
                kinds = (("alpha", "http"), ("beta", "pass"))
                for (client, lines), (name, kind) in list(zip(zip(clients, said), kinds))[: 2 if passed else 1]:
                    own = [flow for flow in flows if flow["process"]["pid"] == client.pid]
                    self.assertEqual({(flow["process"]["name"], flow["type"]) for flow in own}, {(name, kind)})
                    expected = collections.Counter((f"192.0.2.1:{port}", f"{host}:80") for port, host in map(str.split, lines))
                    self.assertEqual(collections.Counter((flow["client"], flow["server"]) for flow in own), expected)
                self.assertEqual(len(flows), 2 * each + passed)
                # Own traffic is never diverted: as many requests at the origin as were made.
                wait_for(lambda: len(world.access_log()) - before == 4 * each, "the origin's count")

    def test_one_source_port_to_two_destinations(self):
        body = """
sockets = []
for host in ('192.0.2.2', '192.0.2.3'):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('192.0.2.1', 20410)); s.settimeout(60); s.connect((host, 80)); sockets.append((s, host))
for s, host in sockets:
    s.sendall(b'GET /same HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' % host.encode())
    print(s.makefile().read().splitlines()[-1])
"""
        with Osproxy(world, "python") as osproxy:
            self.assertEqual(client_script(body).stdout.splitlines(), ["hello from 192.0.2.2", "hello from 192.0.2.3"])
            flows = osproxy.wait_for_flows(2, type="http")
        self.assertEqual({(flow["client"], flow["server"]) for flow in flows}, {("192.0.2.1:20410", f"{host}:80") for host in V4})

    def test_more_connections_than_descriptors(self):
        """They wait for each other; none is refused, and it is said once."""
        script = """
import threading, time
idle = [socket.create_connection(('192.0.2.2', 80), 60) for _ in range(40)]
whole = []
def load():
    with socket.create_connection(('192.0.2.2', 80), 60) as s:
        s.sendall(b'GET / HTTP/1.1\\r\\nHost: one.test\\r\\nConnection: close\\r\\n\\r\\n')
        whole.append(s.makefile('rb').read().endswith(b'hello from one.test\\n'))
threads = [threading.Thread(target=load) for _ in range(90)]
for one in threads: one.start()
time.sleep(0.5)
for one in idle: one.close()
for one in threads: one.join()
assert whole == [True] * 90
print('done')
"""
        few = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "sh", "-c", "ulimit -n 110; exec \"$@\"", "sh"]
        for program, kind in (("python", "http"), ("no-such-program", "pass")):
            for engine in ("packet", "redirect") if kind == "http" else ("redirect",):
                osproxy = Osproxy(world, program, "--engine", engine)
                osproxy.command = [*few, *osproxy.command]
                with self.subTest(engine=engine, kind=kind), osproxy:
                    self.assertEqual(client_script(script).stdout, "done\n")
                    osproxy.wait_for_flows(90, type=kind)
                    lines = [line for line in osproxy.stderr().splitlines() if "descriptors" in line]
                    self.assertEqual(len(lines), 1, lines)
                    self.assertRegex(lines[0], r"^osproxy: there are no descriptors for more than \d+ connections at once: new ones wait until others end; "
                                               r"raise the limit \(ulimit -Hn\)$")

    def test_1000_requests_on_one_connection_and_500_connections_at_once(self):
        one = """
s = socket.create_connection(('192.0.2.2', 80), 60); f = s.makefile('rb')
for i in range(1000):
    s.sendall(b'GET /%d HTTP/1.1\\r\\nHost: one.test\\r\\n\\r\\n' % i)
    head = b''
    while not head.endswith(b'\\r\\n\\r\\n'): head += f.readline()
    assert f.read(20) == b'hello from one.test\\n'
print('done')
"""
        many = """
all = [socket.create_connection(('192.0.2.2', 80), 60) for _ in range(500)]
for i, s in enumerate(all): s.sendall(b'GET /p%d HTTP/1.1\\r\\nHost: one.test\\r\\nConnection: close\\r\\n\\r\\n' % i)
assert all and sum(s.makefile('rb').read().endswith(b'hello from one.test\\n') for s in all) == 500
print('done')
"""
        with Osproxy(world, "python") as osproxy:
            self.assertEqual(client_script(one).stdout, "done\n")
            flows = osproxy.wait_for_flows(1000, type="http")
            self.assertEqual([flow["url"] for flow in flows], [f"http://one.test/{i}" for i in range(1000)])
            self.assertEqual(len({flow["conn"] for flow in flows}), 1)
            self.assertEqual(client_script(many).stdout, "done\n")
            flows = osproxy.wait_for_flows(1500, type="http")
            self.assertEqual(len({flow["conn"] for flow in flows}), 501)


if __name__ == "__main__":
    main()
