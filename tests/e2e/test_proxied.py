"""Programs that begin with a PROXY protocol header (curl, a program of the tests' own) to nginx that expects one."""
import unittest

from harness import Osproxy, World, main, wait_for

world = None
TLS, PLAIN = 7443, 7080

# Answers with what it was told of the address of the client.
NGINX = """
pid {dir}/proxied.pid; error_log {dir}/proxied.err; worker_processes 1; events {{ worker_connections 100; }}
http {{
  access_log off;
  client_body_temp_path {dir}/tb; proxy_temp_path {dir}/tp; fastcgi_temp_path {dir}/tf; uwsgi_temp_path {dir}/tu; scgi_temp_path {dir}/ts;
  server {{
    listen %d ssl proxy_protocol; listen %d proxy_protocol; ssl_certificate {dir}/origin.pem; ssl_certificate_key {dir}/origin.key;
    location / {{ return 200 "$scheme $proxy_protocol_addr $proxy_protocol_port\\n"; }}
  }}
}}
""" % (TLS, PLAIN)
# Version 2 of the header is binary, and comes in a segment of its own.
VERSION_2 = r"""
import socket, ssl, sys
header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([203, 0, 113, 7, 192, 0, 2, 2]) + (1234).to_bytes(2, "big") + (443).to_bytes(2, "big")
s = socket.create_connection(("192.0.2.2", int(sys.argv[1])), 60); s.sendall(header)
if sys.argv[2]: s = ssl.create_default_context(cafile=sys.argv[2]).wrap_socket(s, server_hostname="one.test")
s.sendall(b"GET /two HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
print(b"".join(iter(lambda: s.recv(65536), b"")).split(b"\r\n")[-1].decode())
"""


def setUpModule():
    global world
    world = World()
    with open(f"{world.dir}/proxied.conf", "w") as file:
        file.write(NGINX.format(dir=world.dir))
    world.spawn(["nginx", "-c", f"{world.dir}/proxied.conf", "-g", "daemon off;"], where=world.origin)
    wait_for(lambda: curl("http", check=False).returncode == 0, "nginx behind the PROXY protocol")


def tearDownModule():
    world.close()


def curl(scheme, **options):
    port = TLS if scheme == "https" else PLAIN
    return world.curl(f"{scheme}://one.test:{port}/one", "--haproxy-protocol", "--resolve", f"one.test:{port}:192.0.2.2", **options)


class Proxied(unittest.TestCase):
    def test_header_of_curl_arrives_and_what_follows_is_shown(self):
        for scheme, port in (("https", TLS), ("http", PLAIN)):
            with self.subTest(scheme), Osproxy(world, "curl", "--ports", "all") as osproxy:
                said = curl(scheme, trust="osproxy").stdout.split()
                self.assertEqual(said[:2], [scheme, "192.0.2.1"])
                flow = osproxy.wait_for_flow(url=f"{scheme}://one.test:{port}/one")
                self.assertEqual((flow["status"], flow["error"], flow["host"]), (200, None, "one.test"))
                # The port is the program's own: curl tells the truth.
                self.assertIn(f"; behind a PROXY protocol header: TCP4 192.0.2.1 192.0.2.2 {said[2]} {port}", flow["reason"])
                self.assertEqual(flow["client"], f"192.0.2.1:{said[2]}")

    def test_version_2(self):
        for port, trust in ((TLS, world.trusting("osproxy")), (PLAIN, "")):
            with self.subTest(port), Osproxy(world, "python", "--ports", "all") as osproxy:
                scheme = "https" if trust else "http"
                said = world.run("/usr/bin/python3", "-c", VERSION_2, str(port), trust).stdout
                self.assertEqual(said.split(), [scheme, "203.0.113.7", "1234"])
                flow = osproxy.wait_for_flow(url=f"{scheme}://one.test:{port}/two")
                self.assertIn("; behind a PROXY protocol header", flow["reason"])


if __name__ == "__main__":
    main()
