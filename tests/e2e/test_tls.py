"""TLS on both sides: certificates that are verified, versions, programs that refuse ours."""
import unittest

from harness import Osproxy, World, main, run, wait_for

world = None


def setUpModule():
    global world
    world = World()
    d = world.dir
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "5", "-subj", "/CN=one.test", "-addext",
        "subjectAltName=DNS:one.test", "-keyout", f"{d}/self.key", "-out", f"{d}/self.pem")
    for number, options in enumerate(SERVERS.values()):
        world.spawn(["openssl", "s_server", "-quiet", "-www", "-port", str(PORTS[number]), *[o.format(dir=d) for o in options]], where=world.origin)
    wait_for(lambda: all(f":{port} " in world.run("ss", "-Hltn", where=world.origin).stdout for port in PORTS), "the servers")


def tearDownModule():
    world.close()


ORIGIN = ["-cert", "{dir}/origin.pem", "-key", "{dir}/origin.key"]
SERVERS = {
    "self-signed": ["-cert", "{dir}/self.pem", "-key", "{dir}/self.key"],
    "old": [*ORIGIN, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    "client certificate": [*ORIGIN, "-Verify", "1", "-verify_return_error"],
}
PORTS = [8001, 8002, 8003]
ALL_PORTS = ["--ports", "443,8001-8003"]


def address(server):
    return f"192.0.2.2:{PORTS[list(SERVERS).index(server)]}"


def url(server):
    return f"https://{address(server)}/"


class Upstream(unittest.TestCase):
    def test_bad_certificate_is_an_alert_and_explained_in_the_flow(self):
        cases = [(url("self-signed"), True, "self-signed certificate"), ("https://192.0.2.2/", False, "unable to get local issuer certificate")]
        for target, own_ca, reason in cases:
            with Osproxy(world, "curl", *ALL_PORTS, upstream_ca=own_ca) as osproxy:
                answer = world.curl(target, trust="osproxy", check=False)
                self.assertEqual(answer.returncode, 35)  # CURLE_SSL_CONNECT_ERROR
                self.assertIn("alert unknown ca", answer.stderr)
                flow = osproxy.wait_for_flow(type="tls_error")
                self.assertIn(f"cannot be verified: {reason}", flow["error"])
                self.assertIn("--insecure", flow["error"])
                certificates = flow["upstream_tls"]["certificates"]
                self.assertEqual((certificates[0]["subject"], flow["upstream_tls"]["version"], flow["tls"]), ("CN = one.test", "TLSv1.3", None))

    def test_bad_certificate_is_explained_with_a_502_on_demand(self):
        cases = [(url("self-signed"), True, "self-signed certificate"), ("https://192.0.2.2/", False, "unable to get local issuer certificate")]
        for target, own_ca, reason in cases:
            with Osproxy(world, "curl", "--error-page", "always", *ALL_PORTS, upstream_ca=own_ca) as osproxy:
                answer = world.curl(target, "-w", "%{http_code}", trust="osproxy")
                self.assertTrue(answer.stdout.endswith("502"), answer.stdout)
                self.assertIn(f"cannot be verified: {reason}", answer.stdout)
                self.assertIn("--insecure", answer.stdout)
                flow = osproxy.wait_for_flow(status=502)
                self.assertIn(f"cannot be verified: {reason}", flow["error"])

    def test_wrong_name_is_refused(self):
        with Osproxy(world, "curl") as osproxy:
            answer = world.curl("https://wrong.test/", "--resolve", "wrong.test:443:192.0.2.2", trust="osproxy", check=False)
            self.assertEqual(answer.returncode, 35)
            self.assertIn("alert bad certificate", answer.stderr)
            self.assertIn("ostname mismatch", osproxy.wait_for_flow(type="tls_error")["error"])

    def test_insecure_takes_any(self):
        with Osproxy(world, "curl", "-k", *ALL_PORTS) as osproxy:
            self.assertIn("s_server", world.curl(url("self-signed"), trust="osproxy").stdout)
            self.assertEqual(osproxy.wait_for_flow(type="http")["status"], 200)

    def test_server_that_wants_a_client_certificate(self):
        with Osproxy(world, "curl", *ALL_PORTS) as osproxy:
            world.curl(url("client certificate"), trust="osproxy", check=False)
            flow = osproxy.wait_for_flow(decision="intercept")
            self.assertIn("client certificate", flow["error"])

    def test_old_versions_on_request(self):
        old = ["--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"]
        with Osproxy(world, "curl", *ALL_PORTS) as osproxy:
            refused = world.curl("https://one.test/", *old, "--tlsv1.0", trust="osproxy", check=False)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("unsupported protocol", osproxy.wait_for_flow(type="tls_error")["error"])
            self.assertEqual(world.curl(url("old"), trust="osproxy", check=False).returncode, 35)
            self.assertIn("the server has none of the versions of TLS that it was offered", osproxy.wait_for_flows(2, type="tls_error")[1]["error"])
        with Osproxy(world, "curl", "--tls-min", "1.0", *ALL_PORTS) as osproxy:
            world.curl("https://one.test/old", *old, "--tlsv1.0", trust="osproxy")
            self.assertEqual(osproxy.wait_for_flow(url="https://one.test/old")["tls"]["version"], "TLSv1.1")
            self.assertIn("s_server", world.curl(url("old"), trust="osproxy").stdout)
            flow = osproxy.wait_for_flow(url=url("old"))
            self.assertEqual((flow["tls"]["version"], flow["upstream_tls"]["version"]), ("TLSv1.3", "TLSv1.1"))

    def test_tls_1_2(self):
        with Osproxy(world, "curl") as osproxy:
            world.curl("https://one.test/", "--tls-max", "1.2", trust="osproxy")
            self.assertEqual(osproxy.wait_for_flow(type="http")["tls"]["version"], "TLSv1.2")


class Demands(unittest.TestCase):
    """What a server's certificate must be does not depend on the versions of TLS."""

    def setUp(self):
        self.made = 0

    def serve(self, sign=(), key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"), names="DNS:one.test,IP:192.0.2.2"):
        """The port of a server with a certificate signed by the CA that osproxy is told of."""
        self.made += 1
        path = f"{world.dir}/demands-{self.id().rsplit('.', 1)[1]}-{self.made}"
        run("openssl", "req", *key, "-nodes", "-subj", "/CN=one.test", "-keyout", f"{path}.key", "-out", f"{path}.csr")
        extensions = []
        if names:
            with open(f"{path}.san", "w") as file:
                file.write(f"subjectAltName={names}\n")
            extensions = ["-extfile", f"{path}.san"]
        run("openssl", "x509", "-req", "-in", f"{path}.csr", "-CA", f"{world.dir}/ca.pem", "-CAkey", f"{world.dir}/ca.key", "-CAcreateserial", "-days", "5",
            *sign, *extensions, "-out", f"{path}.pem")
        port = 8100 + self.made
        server = world.spawn(["openssl", "s_server", "-quiet", "-www", "-port", str(port), "-cert", f"{path}.pem", "-key", f"{path}.key", "-cipher",
                              "ALL:@SECLEVEL=0"], where=world.origin)
        self.addCleanup(server.kill)
        wait_for(lambda: f":{port} " in world.run("ss", "-Hltn", where=world.origin).stdout, "the server")
        return port

    def test_weak_certificates_are_refused_with_old_versions_too(self):
        sha1 = self.serve(sign=["-sha1"])
        short = self.serve(key=["-newkey", "rsa:1024"])
        good = self.serve()
        options = [["--tls-min", "1.0"], ["--tls-ciphers", "ALL:@SECLEVEL=0"], []]
        for more in options:
            with self.subTest(more), Osproxy(world, "curl", "--ports", "8100-8110", *more) as osproxy:
                for port, reasons in ((sha1, ["too weak", "sha1"]), (short, ["too weak", "1024 bits"])):
                    self.assertEqual(world.curl(f"https://192.0.2.2:{port}/", trust="osproxy", check=False).returncode, 35)
                    flow = osproxy.wait_for_flow(type="tls_error", server=f"192.0.2.2:{port}")
                    for reason in reasons:
                        self.assertIn(reason, flow["error"].lower())
                self.assertIn("s_server", world.curl(f"https://192.0.2.2:{good}/", trust="osproxy").stdout)

    def test_a_common_name_is_no_name(self):
        port = self.serve(names=None)
        with Osproxy(world, "curl", "--ports", "8100-8110") as osproxy:
            name = ["--resolve", f"one.test:{port}:192.0.2.2"]
            self.assertEqual(world.curl(f"https://one.test:{port}/", *name, trust="osproxy", check=False).returncode, 35)
            error = osproxy.wait_for_flow(type="tls_error")["error"]
            self.assertIn("it has only a common name, one.test, which does not count: it needs a subjectAltName", error)

    def test_an_address_as_a_dns_name_is_no_name(self):
        port = self.serve(names="DNS:one.test,DNS:192.0.2.2")
        with Osproxy(world, "curl", "--ports", "8100-8110") as osproxy:
            self.assertEqual(world.curl(f"https://192.0.2.2:{port}/", trust="osproxy", check=False).returncode, 35)
            error = osproxy.wait_for_flow(type="tls_error")["error"]
            self.assertIn("192.0.2.2 (an address as a DNS name, which does not count: it needs IP:192.0.2.2)", error)


class Program(unittest.TestCase):
    def test_program_that_does_not_trust_us(self):
        with Osproxy(world, "curl") as osproxy:
            refused = world.curl("https://one.test/", trust="origin", check=False)
            self.assertEqual(refused.returncode, 60)  # peer certificate cannot be authenticated
            flow = osproxy.wait_for_flow(type="tls_error")
            self.assertEqual(flow["sni"], "one.test")
            self.assertIn("does not trust", flow["error"])
            self.assertIn("unknown ca", flow["error"])

    def test_leaf_mirrors_the_origins_names(self):
        with Osproxy(world, "openssl"):
            shown = world.run("sh", "-c", "openssl s_client -connect 192.0.2.2:443 -servername one.test </dev/null 2>/dev/null | openssl x509 -noout -text").stdout
        for name in ("DNS:one.test", "DNS:two.test", "IP Address:192.0.2.2", "TLS Web Server Authentication"):
            self.assertIn(name, shown)

    def test_without_a_name_the_address_is_verified(self):
        with Osproxy(world, "curl") as osproxy:
            world.curl("https://192.0.2.2/", trust="osproxy")
            flow = osproxy.wait_for_flow(type="http")
            self.assertIsNone(flow["sni"])
            world.curl("https://[2001:db8::2]/", trust="osproxy")
            self.assertEqual(osproxy.wait_for_flows(2, type="http")[1]["url"], "https://[2001:db8::2]/")

    def test_http_1_1_is_agreed_on(self):
        with Osproxy(world, "curl") as osproxy:
            answer = world.curl("https://one.test/", "--http2", "-w", "%{http_version}", trust="osproxy")
            self.assertTrue(answer.stdout.endswith("1.1"))
            self.assertEqual(osproxy.wait_for_flow(type="http")["tls"]["alpn"], "http/1.1")

    def test_other_programs_see_the_origins_certificate(self):
        show = "openssl s_client -connect 192.0.2.2:443 -servername one.test </dev/null 2>/dev/null | openssl x509 -noout -fingerprint"
        own = run("openssl", "x509", "-noout", "-fingerprint", "-in", f"{world.dir}/origin.pem").stdout
        with Osproxy(world, "curl"):
            self.assertEqual(world.run("sh", "-c", show).stdout, own)


class HostRules(unittest.TestCase):
    def test_host_rules_intercept_pass_and_block(self):
        path = f"{world.dir}/rules.json"
        with open(path, "w") as file:
            file.write('{"rules": [{"host": "two.test", "action": "pass"}, {"host": "*.blocked.test", "action": "block"},'
                       '{"process": "=wget", "action": "block"}]}')
        with Osproxy(world, "curl", "--config", path) as osproxy:
            world.curl("https://two.test/", trust="origin")
            flow = osproxy.wait_for_flow(type="pass", host="two.test")
            self.assertEqual((flow["reason"], flow["sni"]), ("rules[0], host two.test", "two.test"))
            world.curl("https://one.test/", trust="osproxy")
            osproxy.wait_for_flow(type="http", host="one.test")
            blocked = world.curl("https://a.blocked.test/", "--resolve", "a.blocked.test:443:192.0.2.2", check=False)
            self.assertNotEqual(blocked.returncode, 0)
            osproxy.wait_for_flow(type="block", host="a.blocked.test")
            world.curl("http://two.test/")
            osproxy.wait_for_flows(2, type="pass", host="two.test")
            self.assertNotEqual(world.run("wget", "-qO-", "--tries=1", "http://192.0.2.2/", check=False).returncode, 0)
            self.assertEqual(osproxy.wait_for_flow(type="block", process_name="wget")["reason"], "rules[2]")


if __name__ == "__main__":
    main()
