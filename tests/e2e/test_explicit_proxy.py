"""Programs that use an explicit proxy themselves (curl -x, squid): what is inside the tunnel is judged by whom they mean."""
import subprocess
import unittest

from harness import OSPROXY, V4, Osproxy, World, run, start_squid, tshark, wait_for

PROXY = "192.0.2.9"  # the origin's certificate does not name it
PORT = 3128
PORTS = ["--ports", f"80,443,{PORT}"]

SQUID = """
http_port {proxy}:{port}
http_access allow all
hosts_file {dir}/hosts
"""


def setUpModule():
    global world
    world = World()
    with open(f"{world.dir}/hosts", "w") as file:
        file.write(f"{V4[0]} one.test two.test\n")
    run("ip", "-n", world.origin, "addr", "add", f"{PROXY}/24", "dev", "v0")
    start_squid(world, SQUID.format(dir=world.dir, proxy=PROXY, port=PORT))
    wait_for(lambda: world.run("bash", "-c", f"exec 3<>/dev/tcp/{PROXY}/{PORT}", check=False).returncode == 0, "squid")


def tearDownModule():
    world.close()


def curl(url, *more, trust="osproxy", check=True):
    return world.run("curl", "-sS", "-m", "30", "-x", f"http://{PROXY}:{PORT}", "--cacert", world.trusting(trust), *more, url, check=check)


def config(text):
    path = f"{world.dir}/config.json"
    with open(path, "w") as file:
        file.write(text)
    return path


# The proxy is asked for an address, and TLS names the host.
BY_ADDRESS = ["--connect-to", f"one.test:443:{V4[0]}:443"]


class ExplicitProxy(unittest.TestCase):
    def test_by_name_and_by_address(self):
        """An address goes without SNI: the certificate must name it, and not the proxy's."""
        with Osproxy(world, "curl", *PORTS) as osproxy:
            for host in ("one.test", V4[0]):
                self.assertEqual(curl(f"https://{host}/").stdout, f"hello from {host}\n")
                self.assertEqual(osproxy.wait_for_flow(url=f"{host}:443")["method"], "CONNECT")
                flow = osproxy.wait_for_flow(url=f"https://{host}/")
                self.assertEqual((flow["status"], flow["host"], flow["error"]), (200, host, None))
                self.assertEqual(flow["server"], f"{PROXY}:{PORT}")

    def test_wireshark_shows_what_is_in_the_tunnel(self):
        """Recorded live and written from a session."""
        path, session, written = (f"{world.dir}/{name}" for name in ("tunnel.pcapng", "tunnel.osp", "written.pcapng"))
        with Osproxy(world, "curl", *PORTS, "--pcap", path, "--save", session) as osproxy:
            curl("https://one.test/hello")
            osproxy.wait_for_flows(2, type="http")
        with open(written, "wb") as file:
            subprocess.run([OSPROXY, "query", session, "-f", "pcapng"], stdout=file, check=True)
        for file in (path, written):
            with self.subTest(file):
                self.assertEqual(tshark(file, "tcp.stream", "http.request.uri", "http.response.code", show="http"),
                                 [["0", "one.test:443", ""], ["0", "", "200"], ["1", "/hello", ""], ["1", "", "200"]])

    def test_server_that_cannot_be_trusted(self):
        with Osproxy(world, "curl", *PORTS, upstream_ca=False) as osproxy:
            self.assertEqual(curl(f"https://{V4[0]}/", check=False).returncode, 35)  # CURLE_SSL_CONNECT_ERROR
            self.assertIn(f"the certificate of {V4[0]} cannot be verified", osproxy.wait_for_flow(type="tls_error")["error"])

    def test_rules_on_the_host_inside(self):
        path = config('{"rules": [{"host": "one.test", "action": "pass"}, {"host": "two.test", "action": "block"}]}')
        with Osproxy(world, "curl", "--config", path, *PORTS) as osproxy:
            self.assertEqual(curl("https://one.test/", *BY_ADDRESS, trust="origin").stdout, "hello from one.test\n")
            self.assertEqual(osproxy.wait_for_flow(type="pass")["reason"], "rules[0], host one.test")
            blocked = curl("https://two.test/", "--connect-to", f"two.test:443:{V4[0]}:443", check=False)
            self.assertIn(blocked.returncode, (35, 56))  # during the handshake: reset
            self.assertEqual(osproxy.wait_for_flow(type="block")["host"], "two.test")

    def test_learned_pass_through_inside(self):
        key = run("openssl", "x509", "-in", f"{world.dir}/origin.pem", "-pubkey", "-noout").stdout
        with open(f"{world.dir}/origin.pub", "w") as file:
            file.write(key)
        pinned = ["--pinnedpubkey", f"{world.dir}/origin.pub"]
        with Osproxy(world, "curl", "--passthrough-after", "2", *PORTS) as osproxy:
            for _ in range(2):
                self.assertEqual(curl("https://one.test/", *pinned, trust="both", check=False).returncode, 90)
            osproxy.wait_for_flows(2, type="tls_error")
            self.assertEqual(curl("https://one.test/", *pinned, trust="both").stdout, "hello from one.test\n")
            flow = osproxy.wait_for_flow(type="pass")
            self.assertEqual(flow["host"], "one.test")
            self.assertIn("learned: refused osproxy's certificate 2 times", flow["reason"])


if __name__ == "__main__":
    unittest.main()
