"""How a run ends: signals, killed processes, a second instance, a loop. However it ends, no rule stays and the network works."""
import json
import os
import signal
import subprocess
import time
import unittest

from harness import ASAN, OSPROXY, PATIENCE, Osproxy, World, children_of, main, run, wait_for

world = None
REPEATS = 3 if ASAN else 20


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Ending(unittest.TestCase):
    def assert_network_works(self):
        """Within a second: no table of ours, and a fresh curl sees the origin itself."""
        wait_for(lambda: "osproxy" not in world.tables(), "the rules' end", 1)
        answer = world.curl("https://one.test/", "-m", "1", trust="origin")
        self.assertEqual(answer.stdout, "hello from one.test\n")

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

    def test_stopped_broker_is_killed_by_the_guard(self):
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        worker = osproxy.worker()
        os.kill(osproxy.broker(), signal.SIGSTOP)
        wait_for(lambda: osproxy.process.poll() is not None, "the end of the stopped broker", 3)
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

    def test_suspended_run_lets_others_through(self):
        with Osproxy(world, "curl") as osproxy:
            osproxy.process.send_signal(signal.SIGTSTP)
            wait_for(lambda: " T" in open(f"/proc/{osproxy.broker()}/stat").read(), "the stop")
            time.sleep(1.5)  # longer than the guard waits for a heartbeat
            self.assertEqual(world.curl("https://one.test/", trust="origin").stdout, "hello from one.test\n")
            osproxy.process.send_signal(signal.SIGCONT)
            wait_for(lambda: "redirect" in world.run("nft", "list", "ruleset").stdout, "the rules' return")
            world.curl("https://one.test/again", trust="osproxy")
            osproxy.wait_for_flow(url="https://one.test/again")

    def test_second_instance_says_so(self):
        with Osproxy(world, "curl") as osproxy:
            second = world.run(OSPROXY, "run", "curl", "--ca-dir", world.ca_dir, check=False)
            self.assertEqual(second.returncode, 1)
            self.assertEqual(second.stderr, f"osproxy: another osproxy (pid {osproxy.broker()}) runs in this network namespace; end it first\n")
            world.curl("http://one.test/")
            osproxy.wait_for_flow(type="http")
            self.assertEqual(world.run(OSPROXY, "cleanup").stdout, "nothing was left behind\n")
            self.assertIn("osproxy", world.tables())

    def test_loop_is_broken(self):
        """Somebody else's rule sends the worker's own connections back to our listener."""
        osproxy = Osproxy(world, "curl", check=False)
        osproxy.start(self)
        gid = [line.split()[1] for line in open(f"/proc/{osproxy.worker()}/status") if line.startswith("Gid:")][0]
        port = world.run("sh", "-c", "nft list table inet osproxy | sed -n 's/.*redirect to ://p' | head -1").stdout.strip()
        rule = f"""table ip evil {{
            chain output {{
              type nat hook output priority -150; policy accept;
              meta skgid {gid} tcp dport 443 redirect to :{port}
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
        command = world.inside([OSPROXY, "run", "curl", "--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem"])
        osproxy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: "redirect" in world.run("nft", "list", "ruleset").stdout, "the rules")
        osproxy.stdout.close()
        world.curl("http://one.test/")
        self.assertEqual(osproxy.wait(PATIENCE), 0)
        self.assertIn("osproxy: nobody reads standard output any more: interception ends\n", osproxy.stderr.read())
        osproxy.stderr.close()
        self.assert_network_works()

    def test_flows_of_open_connections_are_reported_at_the_end(self):
        silent = world.python("import socket; s = socket.create_server(('192.0.2.2', 8000)); c = s.accept()[0]; c.recv(65536); input()",
                              where=world.origin, stdin=subprocess.PIPE)
        with Osproxy(world, "curl") as osproxy:
            wait_for(lambda: run("ss", "-N", world.origin, "-tlnH", "sport = :8000").stdout, "the silent origin")
            curl = world.spawn(world.curl_command("http://192.0.2.2:8000/never"))
            wait_for(lambda: ":8000" in run("ss", "-N", world.origin, "-tnH", "state", "established").stdout, "the connection")
            time.sleep(0.3)
        flow = osproxy.wait_for_flow(url="http://192.0.2.2:8000/never")
        self.assertEqual(flow["status"], None)
        self.assertEqual(flow["error"], "osproxy ended")
        self.assertNotEqual(curl.wait(PATIENCE), 0)
        silent.kill()


if __name__ == "__main__":
    main()
