"""How a run ends: signals, killed processes, a second instance, a loop. However it ends, no rule stays and the network works."""
import fcntl
import json
import os
import random
import signal
import subprocess
import time
import unittest

from harness import ASAN, OSPROXY, PATIENCE, Osproxy, World, children_of, main, resume, status_of, wait_briefly, wait_for

# Answers with 1000 bytes every 20 ms: for ever, or as many times as the path says. Prints how that ended.
DRIP = """
import errno, socket, threading, time
def serve(c):
    path = c.recv(65536).split(b" ")[1].decode().strip("/")
    how = "sent"
    try:
        c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
        for i in range(int(path or 1_000_000)):
            c.sendall(b"x" * 1000); time.sleep(0.02)
            try:
                if c.recv(1, socket.MSG_DONTWAIT) == b"": how = "FIN"; break
            except BlockingIOError: pass
    except OSError as error: how = errno.errorcode[error.errno]
    print(how, flush=True); c.close()
s = socket.create_server(("0.0.0.0", 8010)); print("ready", flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
# Stops the thread that is named, and no other one, as long as both live (ptrace(2)).
FREEZE = """
import ctypes, os, sys
SEIZE, INTERRUPT = 0x4206, 0x4207
libc, thread = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
for request in (SEIZE, INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0: sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, 0x40000000); print("frozen", flush=True); os.waitpid(thread, 0x40000000)
"""
# curl after curl, with the URL that it is given, until there is the file. Prints those that took longer than five seconds.
LOAD = """
import os, subprocess, sys, time
while not os.path.exists(sys.argv[1]):
    began = time.monotonic()
    code = subprocess.run(sys.argv[2:]).returncode
    took = time.monotonic() - began
    if took > 5: print(f"{sys.argv[-1]}: exit {code} after {took:.1f} s", flush=True)
"""
# Connects again and again, to a port whose connections are chosen or sorted out by osproxy.
FLOOD = """
import socket
sockets = []
print("floods", flush=True)
while True:
    s = socket.socket(); s.setblocking(False)
    try: s.connect(("192.0.2.2", 80))
    except BlockingIOError: pass
    sockets.append(s)
    if len(sockets) > 500: sockets.pop(0).close()
"""
# Reads all of it, with as many seconds of patience as it is told. Prints when it comes, then how that ended, and how much it was.
READER = """
import errno, socket, sys
s = socket.create_connection(("192.0.2.2", 8010), float((sys.argv + [30])[2])); s.sendall(b"GET /%s HTTP/1.1\\r\\nHost: drip.test\\r\\n\\r\\n" % sys.argv[1].encode())
total, how = 0, "FIN"
try:
    while True:
        got = s.recv(65536)
        if not got: break
        if total == 0: print("reading", flush=True)
        total += len(got)
except OSError as error: how = errno.errorcode.get(error.errno, "timeout")
print(how, total)
"""

world = None
drip = None
REPEATS = 3 if ASAN else 20


def setUpModule():
    global world, drip
    world = World()
    drip = world.python(DRIP, where=world.origin, stdout=subprocess.PIPE, text=True)
    drip.stdout.readline()


def reader(path=""):
    """A program that has begun to read from the drip."""
    process = world.python(READER, path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "reading\n"
    return process


def tearDownModule():
    world.close()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def syn_retransmissions():
    """Of the client's namespace since it was made: one comes a second after a SYN that had no answer."""
    names, values = (line.split() for line in world.run("cat", "/proc/net/netstat").stdout.splitlines() if line.startswith("TcpExt:"))
    return int(values[names.index("TCPSynRetrans")])


class Ending(unittest.TestCase):
    def assert_network_works(self):
        """Within a second: no table of ours, and a fresh curl sees the origin itself, at its first SYN."""
        wait_briefly(lambda: "osproxy" not in world.tables(), "the rules' end", 1)
        before = syn_retransmissions()
        answer = world.curl("https://one.test/", trust="origin")
        self.assertEqual(answer.stdout, "hello from one.test\n")
        self.assertEqual(syn_retransmissions(), before)

    def test_signals_end_it_in_order(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with Osproxy(world, "curl") as osproxy:
                world.curl("http://one.test/")
                osproxy.wait_for_flow(type="http")
                processes = [osproxy.broker(), *children_of(osproxy.broker())]
                self.assertEqual(len(processes), 3)
                osproxy.process.send_signal(number)
                self.assertEqual(osproxy.process.wait(PATIENCE), 0, osproxy.stderr())
            for pid in processes:
                wait_for(lambda: not alive(pid), f"the end of process {pid}")
            self.assert_network_works()

    def kill(self, which):
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        parts = {"broker": osproxy.broker(), "worker": osproxy.worker(), "guard": osproxy.guard()}
        if which == "all":  # or the guard may be quicker
            os.kill(parts["guard"], signal.SIGSTOP)
        for name in parts if which == "all" else [which]:
            os.kill(parts[name], signal.SIGKILL)
        self.assert_network_works()
        for name, pid in parts.items():
            wait_for(lambda: not alive(pid), f"the end of the {name}")
        osproxy.process.wait(PATIENCE)
        return osproxy

    def test_kill_worker(self):
        for _ in range(REPEATS):
            osproxy = self.kill("worker")
            self.assertEqual(osproxy.process.returncode, 1)
            self.assertIn("osproxy: the worker was killed by signal 9 (Killed); the rules are taken out\n", osproxy.stderr())

    def test_kill_broker(self):
        for _ in range(REPEATS):
            self.kill("broker")

    def test_kill_guard(self):
        for _ in range(REPEATS):
            osproxy = self.kill("guard")
            self.assertEqual(osproxy.process.returncode, 1)
            self.assertIn("osproxy: the guard died; the rules are taken out\n", osproxy.stderr())

    def test_kill_everything_then_cleanup(self):
        for _ in range(REPEATS):
            self.kill("all")
        cleaned = world.run(OSPROXY, "cleanup").stdout
        self.assertIn("removed the journal of process", cleaned)
        self.assertNotIn("removed the table", cleaned)

    def test_kill_everything_then_the_next_start_puts_it_right(self):
        world.run(OSPROXY, "cleanup")
        killed = self.kill("all")
        with Osproxy(world, "curl") as osproxy:
            self.assertEqual(osproxy.stderr().count(f"osproxy: of an earlier run that was killed: removed the journal of process {killed.process.pid}\n"), 1)
        with Osproxy(world, "curl") as osproxy:
            self.assertNotIn("earlier run", osproxy.stderr())
        self.assertEqual(world.run(OSPROXY, "cleanup").stdout, "nothing to clean up\n")

    def test_stopped_broker_is_killed_by_the_guard(self):
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        worker = osproxy.worker()
        os.kill(osproxy.broker(), signal.SIGSTOP)
        wait_for(lambda: osproxy.process.poll() is not None, "the end of the stopped broker")
        self.assert_network_works()
        wait_for(lambda: not alive(worker), "the end of the worker")

    def test_stopped_worker_is_killed_at_the_end(self):
        """Whatever comes first: the end that was asked for (0), or the broker notices that the worker stands still (1)."""
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        worker = osproxy.worker()
        os.kill(worker, signal.SIGSTOP)
        osproxy.process.send_signal(signal.SIGINT)
        self.assertIn(osproxy.process.wait(PATIENCE), (0, 1))
        self.assertNotIn("osproxy", world.tables())
        wait_for(lambda: not alive(worker), "the end of the worker")

    def freeze(self, thread):
        process = world.python(FREEZE, thread, stdout=subprocess.PIPE, text=True)
        self.assertEqual(process.stdout.readline(), "frozen\n")
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def test_a_thread_of_the_worker_that_hangs_ends_the_run(self):
        """Nobody waits for it for ever: what it carries is reset, new connections go their own way; the broker's memory stays what it was."""
        for chosen, engine in (("no-such-program", "redirect"), ("python", "redirect"), ("python", "packet")):
            with self.subTest(chosen=chosen, engine=engine):
                osproxy = Osproxy(world, chosen, "--ports", "80,8010", "--threads", "1", "--engine", engine, check=False)
                osproxy.start(self)
                broker, worker, guard = osproxy.broker(), osproxy.worker(), osproxy.guard()
                program = reader()
                memory = int(status_of(broker)["VmRSS"].split()[0])
                self.freeze(worker)
                flood = world.python(FLOOD, stdout=subprocess.PIPE, text=True)
                self.assertEqual(flood.stdout.readline(), "floods\n")
                most = memory
                deadline = time.monotonic() + PATIENCE
                while osproxy.process.poll() is None and time.monotonic() < deadline:
                    try:
                        most = max(most, int(status_of(broker).get("VmRSS", "0 kB").split()[0]))
                    except OSError:
                        pass
                    time.sleep(0.02)
                flood.kill()
                self.assertEqual(osproxy.process.returncode, 1)
                self.assertIn("osproxy: the worker hangs: one of its threads has given no sign of life for two seconds; the rules are taken out\n",
                              osproxy.stderr())
                self.assertEqual(program.communicate(timeout=PATIENCE)[0].split()[0], "ECONNRESET")
                self.assertEqual(drip.stdout.readline(), "ECONNRESET\n")
                if not ASAN:
                    self.assertLess(most - memory, 80_000)  # kB
                wait_for(lambda: not alive(guard), "the end of the guard")
                self.assert_network_works()

    def test_a_suspended_job_is_no_hang(self):
        """All of it is stopped and goes on, as by Ctrl-Z and fg, or in a machine that sleeps."""
        with Osproxy(world, "python", "--ports", "8010") as osproxy:
            program = reader("100")
            parts = [osproxy.guard(), osproxy.broker()]
            for pid in parts:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(4)  # longer than a context may be silent, and the guard's patience
            for pid in reversed(parts):
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.3)
            self.assertEqual(program.communicate(timeout=PATIENCE)[0], f"FIN {100_000 + len('HTTP/1.0 200 OK..--')}\n")
            self.assertEqual(drip.stdout.readline(), "sent\n")

    def test_a_standard_error_that_nobody_reads_holds_nothing_up(self):
        """Its lines come from the threads that carry connections: here those of a key log that is not read either."""
        keys = f"{world.dir}/keys-{os.getpid()}"
        os.mkfifo(keys)
        unread = os.open(keys, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, unread)
        fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
        out, into = os.pipe()
        self.addCleanup(os.close, out)
        osproxy = Osproxy(world, "curl", "--keylog", keys)
        osproxy.process = world.spawn(osproxy.command, stderr=into, env=osproxy.environment)
        said = b""
        while b"osproxy: capturing" not in said or not said.endswith(b"\n"):
            said += os.read(out, 4096)
        os.set_blocking(into, False)
        try:
            while os.write(into, b"x" * 4096):
                pass
        except BlockingIOError:
            os.set_blocking(into, True)
        os.close(into)
        for i in range(30):
            self.assertEqual(world.curl(f"https://one.test/{i}", trust="osproxy").stdout, "hello from one.test\n")
        osproxy.wait_for_flows(30, type="http")
        osproxy.process.send_signal(signal.SIGINT)
        self.assertEqual(osproxy.process.wait(PATIENCE), 0)
        self.assert_network_works()

    def test_no_connection_hangs_when_it_ends_under_load(self):
        """At random moments. OSPROXY_E2E_ENDS=40 tries it more often."""
        world.file("big", 3 << 20)
        urls = ("https://one.test/", "http://one.test/", "https://one.test/files/big", "http://one.test/files/big")
        for number in range(int(os.environ.get("OSPROXY_E2E_ENDS", "6"))):
            engine = ("packet", "redirect")[number % 2]
            done = f"{world.dir}/done-{number}"
            with self.subTest(number=number, engine=engine):
                with Osproxy(world, "curl", "--engine", engine):
                    loads = [world.python(LOAD, done, *world.curl_command(url, "-o", "/dev/null"), stdout=subprocess.PIPE, text=True) for url in urls * 2]
                    time.sleep(0.3 + random.random() * 1.5)
                open(done, "w").close()
                slow = "".join(load.communicate(timeout=PATIENCE * 2)[0] for load in loads)
                if not ASAN:
                    self.assertEqual(slow, "")

    def config(self, rules):
        path = f"{world.dir}/rules.json"
        with open(path, "w") as file:
            json.dump({"rules": rules}, file)
        return path

    def test_connections_that_it_carries_end_with_a_reset(self):
        """Half an answer must not look like a whole one: relayed, passed by a rule on the host, intercepted."""
        to_host = ["--config", self.config([{"host": "drip.test", "action": "pass"}])]
        for program, more, kind in (("no-such-program", ["--engine", "redirect"], "pass"), ("python", to_host, "pass"), ("python", [], "http")):
            with self.subTest(kind=kind, more=more):
                with Osproxy(world, program, "--ports", "8010", *more) as osproxy:
                    program = reader()
                self.assertEqual(program.communicate(timeout=PATIENCE)[0].split()[0], "ECONNRESET")
                self.assertEqual(drip.stdout.readline(), "ECONNRESET\n")
                self.assertEqual(osproxy.wait_for_flow(type=kind)["error"], "osproxy ended")

    def test_connections_that_it_carries_end_with_a_reset_however_it_dies(self):
        """Chosen and not chosen, both engines, program and server: half of an answer that ends with the connection never looks whole."""
        runs = (("no-such-program", "redirect"), ("python", "redirect"), ("python", "packet"))
        for victim, number in (("worker", signal.SIGKILL), ("broker", signal.SIGKILL), ("broker", signal.SIGSTOP)):
            for chosen, engine in runs:
                with self.subTest(victim=victim, number=number, chosen=chosen, engine=engine):
                    osproxy = Osproxy(world, chosen, "--ports", "8010", "--engine", engine, check=False)
                    osproxy.start(self)
                    guard, broker = osproxy.guard(), osproxy.broker()
                    program = reader()
                    os.kill(getattr(osproxy, victim)(), number)
                    self.assertNotEqual(osproxy.process.wait(PATIENCE), 0)
                    self.assertEqual(program.communicate(timeout=PATIENCE)[0].split()[0], "ECONNRESET")
                    self.assertEqual(drip.stdout.readline(), "ECONNRESET\n")
                    wait_for(lambda: not alive(guard), "the end of the guard")
                    what = {("worker", signal.SIGKILL): "the worker was killed by signal 9 (Killed)",
                            ("broker", signal.SIGKILL): f"the main process (pid {broker}) was killed or has crashed",
                            ("broker", signal.SIGSTOP): "the main process has given no sign of life for two seconds"}
                    wait_for(lambda: f"osproxy: {what[victim, number]}" in osproxy.stderr(), "the reason")
                    self.assertNotIn("osproxy", world.tables())

    def test_curl_fails_when_the_worker_is_killed_in_the_middle_of_its_download(self):
        osproxy = Osproxy(world, "curl", "--ports", "8010", check=False)
        osproxy.start(self)
        path = f"{world.dir}/download"
        curl = world.spawn(world.curl_command("http://192.0.2.2:8010/", "-o", path, "--no-buffer"))
        wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 0, "the download's beginning")
        os.kill(osproxy.worker(), signal.SIGKILL)
        self.assertEqual(curl.wait(PATIENCE), 56)  # failure in receiving
        self.assertEqual(drip.stdout.readline(), "ECONNRESET\n")

    def test_suspended_run_carries_what_it_has(self):
        for program in ("python", "no-such-program"):
            with Osproxy(world, program, "--ports", "8010", "--engine", "redirect") as osproxy:
                program = reader("200")
                osproxy.process.send_signal(signal.SIGTSTP)
                wait_for(lambda: status_of(osproxy.broker())["State"].startswith("T"), "the stop")
                time.sleep(3)  # longer than the guard waits for a heartbeat
                osproxy.process.send_signal(signal.SIGCONT)
                self.assertEqual(program.communicate(timeout=PATIENCE)[0], f"FIN {200_000 + len('HTTP/1.0 200 OK..--')}\n")
                self.assertEqual(drip.stdout.readline(), "sent\n")

    def test_stopped_guard_does_not_hold_up_the_end(self):
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        parts = [osproxy.broker(), osproxy.worker(), osproxy.guard()]
        self.addCleanup(resume, parts[2])
        os.kill(parts[2], signal.SIGSTOP)
        world.curl("http://one.test/")
        osproxy.wait_for_flow(type="http")
        osproxy.process.send_signal(signal.SIGINT)
        self.assertEqual(osproxy.process.wait(PATIENCE), 0, osproxy.stderr())
        for pid in parts:
            wait_for(lambda: not alive(pid), f"the end of process {pid}")
        self.assert_network_works()

    def test_suspended_run_lets_others_through(self):
        with Osproxy(world, "curl") as osproxy:
            osproxy.process.send_signal(signal.SIGTSTP)
            wait_for(lambda: " T" in open(f"/proc/{osproxy.broker()}/stat").read(), "the stop")
            time.sleep(3)  # longer than the guard waits for a heartbeat
            self.assertEqual(world.curl("https://one.test/", trust="origin").stdout, "hello from one.test\n")
            osproxy.process.send_signal(signal.SIGCONT)
            wait_for(lambda: "redirect" in world.run("nft", "list", "ruleset").stdout, "the rules' return")
            world.curl("https://one.test/again", trust="osproxy")
            osproxy.wait_for_flow(url="https://one.test/again")

    def test_second_instance_says_so(self):
        with Osproxy(world, "curl") as osproxy:
            recorded = [f"{world.dir}/recorded.{name}" for name in ("jsonl", "pcap")]
            for path in recorded:
                with open(path, "w") as file:
                    file.write("of an earlier run")
            files = ["-o", recorded[0], "--pcap", recorded[1]]
            second = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, *files, check=False)
            self.assertEqual(second.returncode, 1)
            for path in recorded:
                with open(path) as file:
                    self.assertEqual(file.read(), "of an earlier run", path)
            self.assertEqual(second.stderr, f"osproxy: another osproxy (pid {osproxy.broker()}) runs in this network namespace; end it first\n")
            world.curl("http://one.test/")
            osproxy.wait_for_flow(type="http")
            self.assertEqual(world.run(OSPROXY, "cleanup").stdout, "nothing to clean up\n")
            self.assertIn("osproxy", world.tables())

    def test_loop_is_broken(self):
        """Somebody else's rule sends the worker's own connections back to our listener."""
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        port = world.run("sh", "-c", "nft list table inet osproxy | sed -n 's/.*redirect to ://p' | head -1").stdout.strip()
        rule = f"""table ip evil {{
            chain output {{
              type nat hook output priority -150; policy accept;
              ct original zone 28531 tcp dport 443 redirect to :{port}
            }}
          }}"""
        world.run("nft", "-f", "-", input=rule)
        try:
            world.curl("https://one.test/", check=False)
            self.assertEqual(osproxy.process.wait(PATIENCE), 1)
            self.assertIn("osproxy: a connection of osproxy's own came back in (192.0.2.1:", osproxy.stderr())
            self.assertIn("the rules are taken out\n", osproxy.stderr())
        finally:
            world.run("nft", "delete", "table", "ip", "evil")
        self.assert_network_works()

    def test_closed_output_ends_it(self):
        command = world.inside([OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem"])
        osproxy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(osproxy.wait)
        self.addCleanup(osproxy.kill)
        wait_for(lambda: "redirect" in world.run("nft", "list", "ruleset").stdout, "the rules")
        osproxy.stdout.close()
        world.curl("http://one.test/")
        self.assertEqual(osproxy.wait(PATIENCE), 0)
        self.assertIn("osproxy: standard output has no reader any more: interception ends\n", osproxy.stderr.read())
        osproxy.stderr.close()
        self.assert_network_works()

    def test_flows_of_open_connections_are_reported_at_the_end(self):
        script = "import socket; s = socket.create_server(('192.0.2.2', 8000)); print(1, flush=True); c = s.accept()[0]; c.recv(65536); print(2, flush=True); input()"
        silent = world.python(script, where=world.origin, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with Osproxy(world, "curl") as osproxy:
            self.assertEqual(silent.stdout.readline(), b"1\n")
            curl = world.spawn(world.curl_command("http://192.0.2.2:8000/never"))
            self.assertEqual(silent.stdout.readline(), b"2\n")  # it has the request
        flow = osproxy.wait_for_flow(url="http://192.0.2.2:8000/never")
        self.assertEqual(flow["status"], None)
        self.assertEqual(flow["error"], "osproxy ended")
        self.assertNotEqual(curl.wait(PATIENCE), 0)
        silent.kill()


if __name__ == "__main__":
    main()
