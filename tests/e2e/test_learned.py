"""Programs that refuse osproxy's certificate pass after some refusals; what was learned is listed and forgotten."""
import os
import time
import unittest

from harness import OSPROXY, Osproxy, TemporaryUser, World, children_of, run, wait_for

CURL_PATH = os.path.realpath("/usr/bin/curl")

# A program with trust of its own: only the origin's CA, whatever the environment says.
OWN_CONTEXT = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
try:
    with context.wrap_socket(socket.create_connection((sys.argv[2], 443), 60), server_hostname="one.test") as tls:
        tls.sendall(b"GET / HTTP/1.1\\r\\nHost: one.test\\r\\nConnection: close\\r\\n\\r\\n")
        print(tls.recv(4096).decode())
except ssl.SSLError as error:
    print(error)
    sys.exit(9)
"""


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def learned(*arguments, check=True, **options):
    return run(OSPROXY, "learned", *arguments, check=check, **options)


class Learned(unittest.TestCase):
    def pinned(self, host="one.test", before=()):
        """curl that trusts everybody but knows the origin's key."""
        key = run("openssl", "x509", "-in", f"{world.dir}/origin.pem", "-pubkey", "-noout").stdout
        path = f"{world.dir}/origin.pub"
        with open(path, "w") as file:
            file.write(key)
        return world.run(*before, *world.curl_command(f"https://{host}/", "--pinnedpubkey", path), check=False)

    def test_pinned_key_passes_after_three_refusals(self):
        with Osproxy(world, "curl") as osproxy:
            for number in (1, 2, 3):
                self.assertEqual(self.pinned().returncode, 90)  # CURLE_SSL_PINNEDPUBKEYNOTMATCH
                flow = osproxy.wait_for_flows(number, type="tls_error")[-1]
                self.assertIn("pinning", flow["error"])
                expected = f"refusal {number} of 3, then it passes" if number < 3 else "it passes for 10 minutes now"
                self.assertIn(expected, flow["error"])
            self.assertEqual(self.pinned().stdout, "hello from one.test\n")
            flow = osproxy.wait_for_flow(type="pass")
            self.assertEqual((flow["decision"], flow["host"]), ("pass", "one.test"))
            self.assertIn("learned: refused osproxy's certificate 3 times", flow["reason"])
            begins = f"osproxy: {CURL_PATH} (uid 0) passes to one.test from here on, undecrypted, for 10 minutes: it refused"
            wait_for(lambda: begins in osproxy.stderr(), "the line that says so")
            # Another host of the same program, and another program, are intercepted as before.
            self.assertEqual(self.pinned("two.test").returncode, 90)

    def test_listed_and_forgotten(self):
        with Osproxy(world, "curl", "--passthrough-after", "1", "--passthrough-ttl", "1h") as osproxy:
            for host in ("one.test", "two.test"):
                self.assertEqual(self.pinned(host).returncode, 90)
                osproxy.wait_for_flow(type="tls_error", host=host)
                self.assertIn(host, learned().stdout)
            self.assertEqual(len(learned().stdout.splitlines()), 2)
            self.assertIn(f"{CURL_PATH} (user root) to one.test: passes undecrypted for 60 more minutes, because it refused osproxy's certificate ", learned().stdout)
            self.assertIn(f"{CURL_PATH} (user root) to one.test: is intercepted again", learned("--forget", "one.test").stdout)
            self.assertNotIn("one.test", learned().stdout)
            self.assertEqual(self.pinned("one.test").returncode, 90)
            self.assertEqual(self.pinned("two.test").returncode, 0)
            osproxy.wait_for_flow(type="pass", host="two.test")
            nothing = learned("--forget", "three.test", check=False)
            self.assertEqual(nothing.returncode, 1)
            self.assertIn("nothing learned names the host or the program 'three.test'", nothing.stderr)
            wait_for(lambda: "one.test" in learned().stdout, "one.test in the list again")
            self.assertEqual(len(learned("--forget", CURL_PATH).stdout.splitlines()), 2)
            self.assertEqual(self.pinned("two.test").returncode, 90)
        self.assertIn("nothing learned", learned().stdout)

    def test_another_user_teaches_nothing(self):
        """What games' curl refuses is no reason to let root's pass; that it passes is said although nothing is shown of flows."""
        games = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]
        with Osproxy(world, "curl", "--passthrough-after", "1", "--detail", "0", jsonl=False) as osproxy:
            self.assertEqual(self.pinned(before=games).returncode, 90)
            wait_for(lambda: "(uid 65533) passes to one.test from here on" in osproxy.stderr(), "the line that says so")
            wait_for(lambda: f"{CURL_PATH} (user 65533) to one.test: passes" in learned().stdout, "the entry")
            self.assertEqual(self.pinned(before=games).returncode, 0)
            self.assertEqual(world.curl("https://one.test/", trust="osproxy").stdout, "hello from one.test\n")
            self.assertNotIn("(uid 0)", osproxy.stderr())

    def test_reading_a_certificate_is_no_refusal(self):
        look = "openssl s_client -connect 192.0.2.2:443 -servername one.test </dev/null"
        speak = "printf 'GET / HTTP/1.1\\r\\nHost: one.test\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -connect 192.0.2.2:443 -servername one.test"
        with Osproxy(world, "openssl") as osproxy:
            for _ in range(3):
                self.assertIn("BEGIN CERTIFICATE", world.run("/bin/sh", "-c", look, check=False).stdout)
            self.assertIn("hello from one.test", world.run("/bin/sh", "-c", speak, check=False).stdout)
            self.assertEqual(osproxy.wait_for_flow(type="http")["status"], 200)
            self.assertEqual(osproxy.flows(type="pass"), [])
            self.assertIn("nothing learned", learned().stdout)

    def test_time_runs_out(self):
        with Osproxy(world, "curl", "--passthrough-after", "1", "--passthrough-ttl", "8s"):
            started = time.monotonic()
            self.assertEqual(self.pinned().returncode, 90)
            self.assertEqual(self.pinned().returncode, 0)
            wait_for(lambda: self.pinned().returncode == 90, "the end of what was learned")
            self.assertGreater(time.monotonic() - started, 8)

    def test_switched_off(self):
        with Osproxy(world, "curl", "--passthrough-after", "1", "--passthrough-ttl", "0") as osproxy:
            for _ in range(3):
                self.assertEqual(self.pinned().returncode, 90)
            self.assertNotIn("passes", osproxy.wait_for_flows(3, type="tls_error")[-1]["error"])

    def test_unknown_ca_without_any_store_teaches_nothing(self):
        with Osproxy(world, "curl", "--passthrough-after", "1") as osproxy:
            for number in (1, 2):
                self.assertEqual(world.curl("https://one.test/", trust="origin", check=False).returncode, 60)
                flow = osproxy.wait_for_flows(number, type="tls_error")[-1]
                self.assertIn("alert unknown ca", flow["error"])
                self.assertIn("osproxy ca install", flow["error"])
                self.assertIn("osproxy exec", flow["error"])

    def test_exec_gave_the_ca_so_unknown_ca_counts(self):
        script = f"for i in 1 2 3; do python3 -c '{OWN_CONTEXT}' {world.dir}/ca.pem 192.0.2.2; echo status $?; done"
        osproxy = Osproxy(world, "--passthrough-after", "2", "--", "/bin/sh", "-c", script, command="exec")
        result = run(*world.inside(osproxy.command), env=osproxy.environment)
        self.assertEqual([line for line in result.stdout.splitlines() if "status" in line], ["status 9", "status 9", "status 0"])
        self.assertIn("hello from one.test", result.stdout)
        self.assertIn("alert unknown ca", osproxy.flows(type="pass")[0]["reason"])

    def test_list_belongs_to_who_typed_sudo(self):
        with TemporaryUser() as user:
            with Osproxy(world, "curl", "--passthrough-after", "1", environment=user.environment, jsonl=False) as osproxy:
                self.assertEqual(self.pinned().returncode, 90)
                wait_for(lambda: "one.test" in learned(env={**os.environ, **user.environment}).stdout, "the user's list")
                path = f"{user.home}/.local/state/osproxy/learned-{osproxy.broker()}.json"
                self.assertEqual((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (user.uid, 0o600))
                self.assertNotIn("one.test", learned().stdout)  # root's own
                gone = learned("--forget", "all", env={**os.environ, **user.environment}).stdout
                self.assertIn("to one.test: is intercepted again", gone)
                self.assertEqual(self.pinned().returncode, 90)
                self.assertTrue(children_of(osproxy.broker()))
            self.assertEqual(os.listdir(os.path.dirname(path)), [])  # the run has ended

    def test_wrong_values_are_told(self):
        result = run(OSPROXY, "run", "--passthrough-ttl", "ten", check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--passthrough-ttl: expected a time such as 30 (seconds), 30s, 10m or 2h", result.stderr)


if __name__ == "__main__":
    unittest.main()
