"""Intercepted programs reach their servers through squid (HTTP CONNECT, plain and over TLS) and microsocks (SOCKS5)."""
import hashlib
import json
import os
import unittest

from harness import CLIENT_V4, ENGINE, OSPROXY, V4, Osproxy, World, children_of, run, start_squid, wait_for

PROXY = V4[1]
HTTP, HTTPS, SOCKS, SOCKS_OPEN = 3128, 3129, 1080, 1081
SECRET = "s3cret@:x"
SECRET_IN_URL = "s3cret%40%3Ax"

SQUID = """
http_port {proxy}:{http}
https_port {proxy}:{https} tls-cert={dir}/origin.pem tls-key={dir}/origin.key
auth_param basic program /usr/lib/squid/basic_ncsa_auth {dir}/passwords
auth_param basic children 2
acl known proxy_auth REQUIRED
acl forbidden port 9443
http_access deny forbidden
http_access allow known
http_access deny all
"""

# A server that speaks first.
GREETER = """
import socket
listener = socket.create_server(("192.0.2.2", 2525))
while True:
    one, _ = listener.accept()
    one.sendall(b"220 hello\\r\\n")
    one.recv(100)
    one.close()
"""


def setUpModule():
    global world
    world = World()
    os.chmod(f"{world.dir}/origin.key", 0o644)
    with open(f"{world.dir}/passwords", "w") as file:
        file.write("ann:" + run("openssl", "passwd", "-apr1", SECRET).stdout)
    start_squid(world, SQUID.format(dir=world.dir, proxy=PROXY, http=HTTP, https=HTTPS))
    names = f"/etc/netns/{world.origin}"
    os.makedirs(names)
    with open(f"{names}/hosts", "w") as file:
        file.write(f"127.0.0.1 localhost\n{V4[0]} one.test\n")
    # Not nsenter: `ip netns exec` shows it that file as /etc/hosts.
    for port, more in ((SOCKS, ["-u", "ann", "-P", SECRET]), (SOCKS_OPEN, [])):
        world.spawn(["ip", "netns", "exec", world.origin, "microsocks", "-i", PROXY, "-p", str(port), *more], where=world.origin)
    world.python(GREETER, where=world.origin)
    for port in (HTTP, HTTPS, SOCKS, SOCKS_OPEN):
        wait_for(lambda: world.run("bash", "-c", f"exec 3<>/dev/tcp/{PROXY}/{port}", check=False).returncode == 0, f"port {port}")


def tearDownModule():
    names = f"/etc/netns/{world.origin}"
    world.close()
    os.remove(f"{names}/hosts")
    os.rmdir(names)


def url(scheme, user="ann", password=SECRET_IN_URL):
    port = {"http": HTTP, "https": HTTPS, "socks5": SOCKS, "socks5h": SOCKS}[scheme]
    return f"{scheme}://{user}:{password}@{PROXY}:{port}"


def served(path):
    """Who asked nginx for `path`, of which there is one request in this module: its own address when a proxy did."""
    lines = wait_for(lambda: [line for line in world.access_log() if f" {path} HTTP/" in line], f"{path} in the server's log")
    assert len(lines) == 1, lines
    return lines[0].split(":")[0]


class UpstreamProxy(unittest.TestCase):
    def test_each_kind_of_proxy(self):
        for scheme in ("http", "https", "socks5", "socks5h"):
            for origin, path in (("http://one.test", f"/{scheme}-80"), ("https://one.test", f"/{scheme}-443")):
                target = origin + path
                with self.subTest(scheme=scheme, target=target), Osproxy(world, "curl", "--upstream-proxy", url(scheme)) as osproxy:
                    self.assertEqual(world.curl(target, trust="osproxy").stdout, "hello from one.test\n")
                    self.assertNotEqual(served(path), CLIENT_V4)
                    flow = osproxy.wait_for_flow(type="http", status=200)
                    self.assertEqual(flow["url"], target)
                    port = {"http": HTTP, "https": HTTPS}.get(scheme, SOCKS)
                    self.assertTrue(flow["reason"].endswith(f"; through {scheme}://{PROXY}:{port}"), flow["reason"])
                    self.assertIsNone(flow["error"])

    def test_bytes_arrive_as_they_were_sent(self):
        path = world.file("large", 20 << 20)
        digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
        for scheme in ("http", "https", "socks5"):
            with self.subTest(scheme=scheme), Osproxy(world, "curl", "--upstream-proxy", url(scheme)):
                got = world.curl(f"https://one.test/files/large?{scheme}", "-o", f"{world.dir}/got", trust="osproxy")
                self.assertEqual(got.returncode, 0)
                self.assertEqual(hashlib.sha256(open(f"{world.dir}/got", "rb").read()).hexdigest(), digest)
                self.assertNotEqual(served(f"/files/large?{scheme}"), CLIENT_V4)

    def test_ipv6(self):
        for scheme in ("http", "socks5"):
            with self.subTest(scheme=scheme), Osproxy(world, "curl", "--upstream-proxy", url(scheme)):
                self.assertEqual(world.curl("https://one.test/", family=6, trust="osproxy").stdout, "hello from one.test\n")

    def test_remote_names_are_told_to_the_proxy(self):
        """curl believes that one.test is where nobody is; the proxy knows better."""
        wrong = ["--resolve", "one.test:443:192.0.2.77", "--resolve", "one.test:80:192.0.2.77"]
        with Osproxy(world, "curl", "--upstream-proxy", url("socks5h")) as osproxy:
            for target in ("https://one.test/", "http://one.test/"):
                result = world.run("curl", "-sS", "-m", "60", "--cacert", world.trusting("osproxy"), *wrong, target)
                self.assertEqual(result.stdout, "hello from one.test\n")
            self.assertEqual(osproxy.wait_for_flow(url="https://one.test/")["server"], "192.0.2.77:443")

    def test_programs_that_are_not_selected_go_straight(self):
        with Osproxy(world, "wget", "--upstream-proxy", url("http")):
            world.curl("http://one.test/not-selected")
            self.assertEqual(served("/not-selected"), CLIENT_V4)

    def test_wrong_password(self):
        for scheme, expected in (("http", "407 Proxy Authentication Required; it does not accept this user and password"),
                                 ("https", "407 Proxy Authentication Required"),
                                 ("socks5", "it does not accept this user and password")):
            with self.subTest(scheme=scheme), Osproxy(world, "curl", "--upstream-proxy", url(scheme, password="wr0ng")) as osproxy:
                self.refused(osproxy, f"the proxy {scheme}://{PROXY}", expected, secret="wr0ng")

    def test_password_is_missing(self):
        for scheme, port in (("http", HTTP), ("socks5", SOCKS)):
            with self.subTest(scheme=scheme), Osproxy(world, "curl", "--upstream-proxy", f"{scheme}://{PROXY}:{port}") as osproxy:
                self.refused(osproxy, f"the proxy {scheme}://{PROXY}", "give user and password in its URL")

    def test_proxy_forbids_the_port(self):
        with Osproxy(world, "curl", "--ports", "all", "--upstream-proxy", url("http")) as osproxy:
            self.refused(osproxy, f"the proxy http://{PROXY}:{HTTP} refused {V4[0]}:9443: 403 Forbidden", port=9443)

    def test_server_is_not_there(self):
        with Osproxy(world, "curl", "--ports", "all", "--upstream-proxy", f"socks5://{PROXY}:{SOCKS_OPEN}") as osproxy:
            self.refused(osproxy, f"refused {V4[0]}:9999: connection refused (SOCKS 5)", port=9999)

    def test_proxy_is_not_there(self):
        with Osproxy(world, "curl", "--upstream-proxy", f"http://{PROXY}:9") as osproxy:
            self.refused(osproxy, f"the proxy http://{PROXY}:9 cannot be reached: Connection refused")

    def test_proxy_cannot_be_found(self):
        with Osproxy(world, "curl", "--upstream-proxy", "http://proxy.invalid:3128") as osproxy:
            wait_for(lambda: "osproxy: the proxy http://proxy.invalid:3128 cannot be found" in osproxy.stderr(), "the warning")
            self.refused(osproxy, "the proxy http://proxy.invalid:3128 cannot be found")

    def test_certificate_of_the_proxy_is_verified(self):
        with Osproxy(world, "curl", "--upstream-proxy", url("https"), upstream_ca=False) as osproxy:
            self.refused(osproxy, f"the proxy https://{PROXY}:{HTTPS} cannot be used", "cannot be verified")

    def refused(self, osproxy, *expected, port=443, secret=SECRET):
        """curl's connect() fails when its first packet is held for the answer, else TLS does."""
        result = world.run(*world.curl_command(f"https://one.test:{port}/", trust="osproxy")[:-1], "--resolve",
                           f"one.test:{port}:{V4[0]}", f"https://one.test:{port}/", check=False)
        flow = osproxy.wait_for_flow(decision="intercept")
        for text in expected:
            self.assertIn(text, flow["error"])
        if ENGINE == "redirect":
            self.assertEqual(flow["type"], "tls_error")
        # On a busy machine the owner may be found too late for the first packet: then the alert it is.
        if flow["type"] == "tls_error":
            self.assertEqual(result.returncode, 35, result.stderr)  # CURLE_SSL_CONNECT_ERROR
        else:
            self.assertEqual(result.returncode, 7, result.stderr)  # CURLE_COULDNT_CONNECT
        self.assertNotIn(secret, open(osproxy.flows_path).read() + osproxy.stderr())

    def test_refusal_when_the_name_is_needed_first(self):
        """The program is connected by then: an alert, or in plain HTTP a page, whatever the engine."""
        with Osproxy(world, "curl", "--upstream-proxy", url("socks5h", password="wr0ng")) as osproxy:
            why = "it does not accept this user and password"
            self.assertEqual(world.curl("https://one.test/", trust="osproxy", check=False).returncode, 35)
            self.assertIn(why, osproxy.wait_for_flow(type="tls_error")["error"])
            self.assertIn(why, world.curl("http://one.test/").stdout)
            self.assertEqual(osproxy.wait_for_flow(url="http://one.test/")["status"], 502)

    def test_a_proxy_that_accepts_and_never_answers_is_blamed(self):
        silent = world.python("import socket; s = socket.create_server(('192.0.2.3', 3199), backlog=100)\nwhile True: s.accept()[0].detach()",
                              where=world.origin)
        self.addCleanup(silent.kill)
        wait_for(lambda: world.run("bash", "-c", f"exec 3<>/dev/tcp/{PROXY}/3199", check=False).returncode == 0, "the proxy")
        cases = [("http", "packet"), ("socks5", "packet"), ("socks5h", "packet"), ("http", "redirect")]
        for scheme, engine in cases:
            with self.subTest(scheme=scheme, engine=engine):
                path = f"{world.dir}/silent-{scheme}-{engine}.jsonl"
                world.run(OSPROXY, "exec", "--ca-dir", world.ca_dir, "--engine", engine, "--upstream-proxy", f"{scheme}://{PROXY}:3199",
                          "-f", "jsonl", "-o", path, "--", "curl", "-sS", "-m", "3", f"https://{V4[0]}/", check=False)
                with open(path) as file:
                    flows = [json.loads(line) for line in file]
                errors = [flow["error"] for flow in flows if flow["event"] == "end"]
                self.assertIn(f"the proxy {scheme}://{PROXY}:3199 had not answered when osproxy ended", errors)

    def test_server_speaks_first(self):
        for proxy in (url("http"), url("https"), url("socks5h")):
            with self.subTest(proxy=proxy), Osproxy(world, "bash", "--ports", "2525", "--upstream-proxy", proxy) as osproxy:
                result = world.run("bash", "-c", f"exec 3<>/dev/tcp/{V4[0]}/2525; read -u 3 line; echo $line; echo QUIT >&3")
                self.assertEqual(result.stdout.strip(), "220 hello")
                flow = osproxy.wait_for_flow(type="tcp")
                self.assertEqual((flow["response_bytes"], flow["error"]), (11, None))


class Rules(unittest.TestCase):
    def config(self, text):
        path = f"{world.dir}/config.json"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_each_rule_has_its_own(self):
        path = self.config(f'{{"upstream-proxy": "{url("http")}", "rules": ['
                           f'{{"host": "one.test", "action": "intercept", "upstream": "direct"}},'
                           f'{{"host": "pass.test", "action": "pass"}},'
                           f'{{"port": 8443, "action": "intercept", "upstream": "{url("socks5")}"}}]}}')
        with Osproxy(world, "curl", "--config", path, "--ports", "all") as osproxy:
            world.curl("https://one.test/direct", trust="osproxy")
            self.assertEqual(served("/direct"), CLIENT_V4)
            world.curl("https://two.test/proxied", trust="osproxy")
            self.assertNotEqual(served("/proxied"), CLIENT_V4)
            self.assertIn(f"; through http://{PROXY}", osproxy.wait_for_flow(url="https://two.test/proxied")["reason"])
            world.curl("https://two.test:8443/", trust="osproxy")
            self.assertIn(f"; through socks5://{PROXY}", osproxy.wait_for_flow(url="https://two.test:8443/")["reason"])
            # What passes goes straight, and untouched.
            result = world.run("curl", "-sS", "--cacert", f"{world.dir}/ca.pem", "-k", "--resolve", f"pass.test:443:{V4[0]}", "https://pass.test/passed")
            self.assertEqual(result.stdout, "hello from pass.test\n")
            self.assertEqual(served("/passed"), CLIENT_V4)
            self.assertEqual(osproxy.wait_for_flow(type="pass")["reason"], "rules[1], host pass.test")
            for pid in [osproxy.broker(), *children_of(osproxy.broker())]:
                self.assertNotIn("s3cret", open(f"/proc/{pid}/cmdline").read())
            self.assertNotIn("s3cret", open(osproxy.flows_path).read() + osproxy.stderr())

    def test_what_was_learned_goes_straight(self):
        with Osproxy(world, "curl", "--upstream-proxy", url("http"), "--passthrough-after", "1") as osproxy:
            trusting = ["-sS", "-k", "--pinnedpubkey", "sha256//" + "A" * 43 + "=", "--resolve", f"one.test:443:{V4[0]}"]
            self.assertEqual(world.run("curl", *trusting, "https://one.test/", check=False).returncode, 90)
            osproxy.wait_for_flow(type="tls_error")
            self.assertEqual(world.run("curl", "-sS", "-k", *trusting[4:], "https://one.test/learned").stdout, "hello from one.test\n")
            osproxy.wait_for_flow(type="pass")
            self.assertEqual(served("/learned"), CLIENT_V4)

    def test_wrong_urls_are_told(self):
        cases = (("ftp://a:1", "'ftp' is no kind of proxy"), ("http://a", "there is no port"), ("a:3128", "this is no URL"),
                 ("http://a:99999", "the port is no number"), ("http://:s3cret@a:1", "there is no user before the @"))
        for text, expected in cases:
            result = run(OSPROXY, "run", "--upstream-proxy", text, check=False)
            self.assertEqual(result.returncode, 2)
            self.assertIn("osproxy: --upstream-proxy: " + expected, result.stderr)
            self.assertIn("expected a URL such as http://proxy.example:3128", result.stderr)
            self.assertNotIn("s3cret", result.stderr)
        path = self.config('{"rules": [\n{"action": "pass",\n"upstream": "http://a:1"}]}')
        result = run(OSPROXY, "config", "check", "--config", path, check=False)
        self.assertIn(":3: rules[0].upstream: goes with the action intercept", result.stderr)


if __name__ == "__main__":
    unittest.main()
