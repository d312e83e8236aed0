"""Which programs are intercepted: selected, not selected, negated, by pid, with descendants; both families; real clients."""
import unittest

from harness import CLIENT_V4, Osproxy, World, main

world = None


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


class Selection(unittest.TestCase):
    def test_selected_program_is_decrypted(self):
        with Osproxy(world, "curl") as osproxy:
            answer = world.curl("https://one.test/hello?x=1", trust="osproxy")
            self.assertEqual(answer.stdout, "hello from one.test\n")
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual(flow["url"], "https://one.test/hello?x=1")
        self.assertEqual(flow["method"], "GET")
        self.assertEqual(flow["status"], 200)
        self.assertEqual(flow["response_bytes"], len(answer.stdout))
        self.assertEqual(flow["process"]["name"], "curl")
        self.assertIn("https://one.test/hello?x=1", flow["process"]["argv"])
        self.assertEqual(flow["tls"]["version"], "TLSv1.3")
        self.assertEqual(flow["server"], "192.0.2.2:443")
        self.assertTrue(flow["client"].startswith(CLIENT_V4 + ":"))
        self.assertEqual(flow["decision"], "intercept")

    def test_other_program_sees_the_origin_itself(self):
        with Osproxy(world, "no-such-program", "--engine", "redirect") as osproxy:
            answer = world.curl("https://one.test/", trust="origin")
            self.assertEqual(answer.stdout, "hello from one.test\n")
            flow = osproxy.wait_for_flow(type="pass")
        self.assertEqual(flow["process"]["name"], "curl")
        self.assertEqual(flow["reason"], "not selected by the filter no-such-program")
        self.assertEqual(osproxy.flows(type="http"), [])

    def test_ipv6(self):
        with Osproxy(world, "curl") as osproxy:
            world.curl("https://one.test/six", family=6, trust="osproxy")
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual(flow["server"], "[2001:db8::2]:443")

    def test_plain_http(self):
        with Osproxy(world, "curl") as osproxy:
            world.curl("http://two.test/plain")
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual(flow["url"], "http://two.test/plain")
        self.assertIsNone(flow["tls"])

    def test_negation_and_order(self):
        with Osproxy(world, "!curl,curl") as osproxy:
            world.curl("http://one.test/")
            osproxy.wait_for_flow(type="http")
        with Osproxy(world, "!curl") as osproxy:
            world.curl("https://one.test/", trust="origin")
        self.assertEqual(osproxy.flows(type="http"), [])

    def test_pid_and_descendants(self):
        script = "import os, subprocess, sys; sys.stdin.readline(); sys.exit(subprocess.run(sys.argv[1:]).returncode)"
        import subprocess
        parent = world.python(script, *world.curl_command("https://one.test/child", trust="both"), stdin=subprocess.PIPE)
        with Osproxy(world, f"{parent.pid}+") as osproxy:
            world.curl("https://one.test/other", trust="origin")
            parent.stdin.write(b"\n")
            parent.stdin.close()
            self.assertEqual(parent.wait(30), 0)
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual(flow["url"], "https://one.test/child")
        self.assertEqual(flow["process"]["ppid"], parent.pid)
        self.assertEqual(len(osproxy.flows(type="http")), 1)

    def test_wget_urllib_and_s_client(self):
        trust = world.trusting("both")
        with Osproxy(world) as osproxy:
            trust = world.trusting("both")
            world.run("wget", "-q", "-O-", "--ca-certificate", trust, "--header", "Host: one.test", "https://192.0.2.2/wget")
            code = "import ssl, sys, urllib.request as r; print(r.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])).read())"
            world.run("/usr/bin/python3", "-c", code, "https://192.0.2.2/urllib", trust)
            request = "GET /s_client HTTP/1.0\r\n\r\n"
            world.run("openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", trust, "-connect", "192.0.2.2:443", "-servername", "one.test",
                      input=request)
            flows = osproxy.wait_for_flows(3, type="http")
        self.assertEqual({flow["url"].rsplit("/", 1)[1] for flow in flows}, {"wget", "urllib", "s_client"})
        self.assertTrue({"wget", "openssl"} <= {flow["process"]["name"] for flow in flows})


if __name__ == "__main__":
    main()
