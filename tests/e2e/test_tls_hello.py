"""ClientHellos on their way: in pieces, too large, with early data; and what a server sees of the program's own."""
import hashlib
import os
import shutil
import ssl
import unittest

from harness import V4, Osproxy, World, main, wait_for
from tls_servers import PORTS, RECORDER, Hello, start_nginx

world = None
RECORDED = 7020


def setUpModule():
    global world
    world = World()
    start_nginx(world)
    world.python(RECORDER, RECORDED, f"{world.dir}/hellos", f"{world.dir}/good.pem", f"{world.dir}/good.key", where=world.origin)
    curl = PROGRAMS["curl"]
    wait_for(lambda: world.run(*curl, check=False).returncode == 0, "the server that records hellos")


def tearDownModule():
    world.close()


# argv: port, bytes a record, bytes a segment, names offered by ALPN beside http/1.1. Prints the hello's size, the certificate's hash, the answer.
CLIENT = """
import hashlib, socket, ssl, sys, time
port, record, segment, more = map(int, sys.argv[1:])
context = ssl._create_unverified_context()
context.set_alpn_protocols(["http/1.1"] + ["%03d" % i + "x" * 250 for i in range(more)])
came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(came, goes, server_hostname="one.test")
try:
    tls.do_handshake()
except ssl.SSLWantReadError:
    pass
data, message, sent = goes.read(), b"", b""
while data:
    size = int.from_bytes(data[3:5], "big")
    message, data = message + data[5:5 + size], data[5 + size:]
for at in range(0, len(message), record):
    piece = message[at:at + record]
    sent += b"\\x16\\x03\\x01" + len(piece).to_bytes(2, "big") + piece
connection = socket.create_connection(("192.0.2.2", port), 60)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for at in range(0, len(sent), segment):
    connection.sendall(sent[at:at + segment])
    time.sleep(0.0005)
def step(what):
    while True:
        try:
            value = what()
            connection.sendall(goes.read())
            return value
        except ssl.SSLWantReadError:
            connection.sendall(goes.read())
            data = connection.recv(65536)
            if not data:
                sys.exit("closed")
            came.write(data)
step(tls.do_handshake)
step(lambda: tls.write(b"GET /pieces HTTP/1.0\\r\\nHost: one.test\\r\\n\\r\\n"))
answer = step(lambda: tls.read(65536)).decode().split("\\r\\n", 1)[0]
print(len(sent), hashlib.sha256(tls.getpeercert(True)).hexdigest(), answer)
"""


def say_hello(port, record, segment, more=0):
    size, certificate, answer = world.run("/usr/bin/python3", "-c", CLIENT, *map(str, (port, record, segment, more))).stdout.split(" ", 2)
    return int(size), certificate, answer


def hash_of(name):
    with open(f"{world.dir}/{name}.pem") as file:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()


class Pieces(unittest.TestCase):
    def test_a_hello_in_any_records_and_segments_is_intercepted(self):
        cases = [(16384, 1, 0), (1, 100, 0), (7, 3, 0), (100, 16384, 0), (16384, 1400, 50), (997, 1400, 150)]
        with Osproxy(world, "python", "--ports", PORTS) as osproxy:
            for number, case in enumerate(cases, 1):
                _, certificate, answer = say_hello(7009, *case)
                self.assertIn("200 OK", answer, case)
                self.assertNotEqual(certificate, hash_of("good"), case)
                self.assertEqual(osproxy.wait_for_flows(number, type="http")[-1]["url"], "https://one.test:7009/pieces")

    def test_one_of_more_than_64_kib_passes_with_the_reason(self):
        with Osproxy(world, "python", "--ports", PORTS) as osproxy:
            size, certificate, answer = say_hello(7009, 1, 16384, 60)
            self.assertGreater(size, 64 << 10)
            self.assertIn("200 OK", answer)
            self.assertEqual(certificate, hash_of("good"))
            self.assertEqual(osproxy.wait_for_flow(type="pass")["reason"], "the program's ClientHello takes more than 64 KiB")


class EarlyData(unittest.TestCase):
    """A session of the server's own, so that s_client does send early data; the server would take it."""

    def ask(self, path):
        request = f"{world.dir}/request"
        with open(request, "w") as file:
            file.write(f"GET /{path} HTTP/1.0\r\nHost: one.test\r\n\r\n")
        where = ["openssl", "s_client", "-connect", "192.0.2.2:7010", "-servername", "one.test", "-ign_eof"]
        session = f"{world.dir}/session-{path}"
        world.run(*where, "-sess_out", session, input=f"GET /before-{path} HTTP/1.0\r\nHost: one.test\r\n\r\n")

        def resumed(text):
            return world.run(*where, "-sess_in", session, "-early_data", request, input=text).stdout
        return resumed

    def requests(self, path):
        with open(f"{world.dir}/tls-access.log") as file:
            return [line for line in file if f"GET /{path} " in line]

    def test_without_osproxy_the_server_takes_it(self):
        shown = self.ask("direct")("")
        self.assertIn("Early data was accepted", shown)
        wait_for(lambda: len(self.requests("direct")) == 1, "the request in early data")

    def test_with_osproxy_it_is_refused_and_what_follows_is_answered_once(self):
        resumed = self.ask("refused")
        with Osproxy(world, "openssl", "--ports", PORTS) as osproxy:
            shown = resumed("GET /refused HTTP/1.0\r\nHost: one.test\r\n\r\n")
            self.assertIn("Early data was rejected", shown)
            self.assertIn("\nNew, TLSv1.3", shown)
            self.assertEqual(shown.count("HTTP/1.1 200 OK"), 1, shown)
            self.assertEqual(osproxy.wait_for_flow(type="http")["url"], "https://one.test:7010/refused")
        wait_for(lambda: self.requests("refused"), "the request in the server's log")
        self.assertEqual(len(self.requests("refused")), 1)
        self.assertEqual(len(osproxy.flows(event="end")), 1, osproxy.flows())


URL = f"https://one.test:{RECORDED}/"
RESOLVE = ["--resolve", f"one.test:{RECORDED}:{V4[0]}"]
CIPHERS = ["--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256:AES256-SHA", "--curves",
           "P-384:X25519"]
PYTHON = """
import ssl, urllib.request
urllib.request.urlopen("https://192.0.2.2:%d/", context=ssl._create_unverified_context()).read()
"""
NODE = """
require("https").get({host: "192.0.2.2", port: %d, servername: "one.test", rejectUnauthorized: false}, (answer) => answer.resume());
"""
PROGRAMS = {
    "curl": ["curl", "-sSkm60", *RESOLVE, URL],
    "curl, http/1.1": ["curl", "-sSkm60", "--http1.1", *RESOLVE, URL],
    "curl, TLS 1.2": ["curl", "-sSkm60", "--tls-max", "1.2", *RESOLVE, URL],
    "curl, TLS 1.3 only": ["curl", "-sSkm60", "--tlsv1.3", *RESOLVE, URL],
    "curl, own lists": ["curl", "-sSkm60", *CIPHERS, *RESOLVE, URL],
    "python": ["/usr/bin/python3", "-c", PYTHON % RECORDED],
    "wget": ["wget", "-qO-", "--no-check-certificate", f"https://192.0.2.2:{RECORDED}/"],
    "node": ["node", "-e", NODE % RECORDED],
}
SCSV = 0xff  # renegotiation_info as a cipher; OpenSSL always sends it, others send the extension


class Likeness(unittest.TestCase):
    """Each program speaks to a server that records its hello: first by itself, then through osproxy."""

    def hello(self, words):
        path = f"{world.dir}/hellos"
        before = sum(1 for _ in open(path)) if os.path.exists(path) else 0
        world.run(*words)
        lines = wait_for(lambda: open(path).read().splitlines()[before:], "the hello")
        self.assertEqual(len(lines), 1)
        return Hello(bytes.fromhex(lines[0]))

    def test_the_server_sees_the_programs_own_lists(self):
        own = {name: self.hello(words) for name, words in PROGRAMS.items() if shutil.which(words[0])}
        self.assertIn("curl", own)
        with Osproxy(world, "--ports", PORTS) as osproxy:
            for number, (name, hello) in enumerate(own.items(), 1):
                with self.subTest(name):
                    seen = self.hello(PROGRAMS[name])
                    osproxy.wait_for_flows(number, type="http", status=200)
                    self.assertNotEqual(seen.random, hello.random)
                    self.assertEqual(seen.ciphers, [c for c in hello.ciphers if c != SCSV] + [SCSV])
                    self.assertEqual(seen.groups, hello.groups)
                    # OpenSSL refuses SHA-1 at its usual security level.
                    self.assertEqual(seen.signatures, [s for s in hello.signatures if s >> 8 != 2])
                    self.assertEqual(set(seen.versions), {v for v in hello.versions if v >= 0x0303})
                    self.assertEqual(seen.alpn, hello.alpn)
                    self.assertEqual(0 in seen.extensions, 0 in hello.extensions)

    def test_with_a_list_of_its_own_osproxy_offers_just_that(self):
        with Osproxy(world, "curl", "--ports", PORTS, "--tls-ciphers", "TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"):
            self.assertEqual(self.hello(PROGRAMS["curl, own lists"]).ciphers, [0x1302, 0xc02b, SCSV])


if __name__ == "__main__":
    main()
