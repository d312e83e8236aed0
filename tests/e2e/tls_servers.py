"""What the tests of TLS share: certificates good and bad, an nginx with a server for each, and eyes for ClientHellos."""
import os
import struct

from harness import V4, V6, run

LONG_AGO = ("20200101000000Z", "20210101000000Z")
ONE_DAY = ("20900101000000Z", "21000101000000Z")
NAMES = "DNS:one.test,DNS:two.test," + ",".join(f"IP:{a}" for a in V4 + V6)

CA_CONFIG = """
[ca]
default_ca = own
[own]
database = {dir}/index.txt
new_certs_dir = {dir}/issued
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
rand_serial = yes
[any]
commonName = supplied
"""

# port: what nginx says there. Every answer is what nginx itself knows of the connection.
SERVERS = {
    7001: ("expired", ""),
    7002: ("future", ""),
    7003: ("wrong", ""),
    7004: ("self", ""),
    7005: ("stranger", ""),
    7006: ("good", "ssl_verify_client on; ssl_client_certificate {dir}/users.pem;"),
    7007: ("rsa", ""),
    7008: ("good", "ssl_protocols TLSv1.2;"),
    7009: ("good", "ssl_protocols TLSv1.3;"),
    7010: ("good", "ssl_protocols TLSv1.3; ssl_early_data on;"),
    7011: ("good", "ssl_verify_client optional; ssl_client_certificate {dir}/users.pem;"),
}
PORTS = "443,7000-7099"

SERVER = """
  server {{
    listen {port} ssl; listen [::]:{port} ssl; ssl_certificate {dir}/{certificate}.pem; ssl_certificate_key {dir}/{certificate}.key;
    {more}
    location / {{ return 200 "$ssl_protocol $ssl_cipher reused:$ssl_session_reused client:$ssl_client_s_dn\\n"; }}
  }}
"""
NGINX = """
pid {dir}/tls-nginx.pid; error_log {dir}/tls-nginx.err; worker_processes 1; events {{ worker_connections 1000; }}
http {{
  log_format own '$server_port "$request" $status';
  access_log {dir}/tls-access.log own; ssl_session_cache shared:s:1m; ssl_ciphers ALL:@SECLEVEL=0;
  client_body_temp_path {dir}/tb; proxy_temp_path {dir}/tp; fastcgi_temp_path {dir}/tf; uwsgi_temp_path {dir}/tu; scgi_temp_path {dir}/ts;
  {servers}
}}
"""


class Certificates:
    """Made by openssl(1) in `directory`, NAME.pem and NAME.key; a CA is one that `issue` is told of."""

    def __init__(self, directory):
        self.dir = directory
        self.config = f"{directory}/ca.cnf"
        os.makedirs(f"{directory}/issued", exist_ok=True)
        open(f"{directory}/index.txt", "w").close()
        with open(self.config, "w") as file:
            file.write(CA_CONFIG.format(dir=directory))

    def request(self, name, subject, names, kind="ec"):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["-newkey", "rsa:2048"]
        extension = ["-addext", f"subjectAltName={names}"] if names else []
        run("openssl", "req", *key, "-nodes", "-subj", f"/CN={subject}", *extension, "-keyout", f"{self.dir}/{name}.key", "-out", f"{self.dir}/{name}.csr")

    def root(self, name, subject, names=None):
        """A certificate that has signed itself."""
        extension = ["-addext", f"subjectAltName={names}"] if names else []
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "5", "-subj", f"/CN={subject}", *extension,
            "-keyout", f"{self.dir}/{name}.key", "-out", f"{self.dir}/{name}.pem")

    def issue(self, name, subject, names=NAMES, issuer="ca", dates=None, kind="ec"):
        self.request(name, subject, names, kind)
        times = ["-startdate", dates[0], "-enddate", dates[1]] if dates else ["-days", "5"]
        run("openssl", "ca", "-batch", "-notext", "-config", self.config, "-cert", f"{self.dir}/{issuer}.pem", "-keyfile", f"{self.dir}/{issuer}.key",
            *times, "-in", f"{self.dir}/{name}.csr", "-out", f"{self.dir}/{name}.pem")


def start_nginx(world):
    """An nginx of its own in the origin's namespace with SERVERS."""
    d = world.dir
    made = Certificates(d)
    made.issue("good", "one.test")
    made.issue("expired", "one.test", dates=LONG_AGO)
    made.issue("future", "one.test", dates=ONE_DAY)
    made.issue("wrong", "other.test", names="DNS:other.test,DNS:*.other.test")
    made.issue("rsa", "one.test", kind="rsa")
    made.root("self", "one.test", NAMES)
    made.root("strangers", "Nobody's CA")
    made.issue("stranger", "one.test", issuer="strangers")
    made.root("users", "Users' CA")
    made.issue("ann", "Ann", names=None, issuer="users")
    made.issue("bob", "Bob", names=None, issuer="strangers")
    servers = "".join(SERVER.format(port=port, dir=d, certificate=name, more=more.format(dir=d)) for port, (name, more) in SERVERS.items())
    with open(f"{d}/tls-nginx.conf", "w") as file:
        file.write(NGINX.format(dir=d, servers=servers))
    world.spawn(["nginx", "-c", f"{d}/tls-nginx.conf", "-g", "daemon off;"], where=world.origin)


def https(world, port, *more, **options):
    """curl of one.test at that port; trusts osproxy alone, so that what is not intercepted fails."""
    options.setdefault("trust", "osproxy")
    return world.curl(f"https://one.test:{port}/", "--resolve", f"one.test:{port}:{V4[0]}", *more, **options)


class Hello:
    """A ClientHello (RFC 8446, 4.1.2); `data` begins with its first record, and what follows the hello is not looked at."""

    def __init__(self, data):
        message = b""
        while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
            kind, _, size = struct.unpack("!BHH", data[:5])
            if kind != 22 or len(data) < 5 + size:
                raise ValueError("no whole ClientHello")
            message, data = message + data[5:5 + size], data[5 + size:]
        if message[0] != 1:
            raise ValueError("not a ClientHello")
        self.legacy_version, self.random = int.from_bytes(message[4:6], "big"), message[6:38].hex()
        rest = message[38:4 + int.from_bytes(message[1:4], "big")]
        _, rest = self._vector(rest, 1)
        ciphers, rest = self._vector(rest, 2)
        _, rest = self._vector(rest, 1)
        extensions, _ = self._vector(rest, 2) if rest else (b"", b"")
        self.ciphers = self._numbers(ciphers)
        self.extensions = {}
        while extensions:
            number = int.from_bytes(extensions[:2], "big")
            self.extensions[number], extensions = self._vector(extensions[2:], 2)
        self.groups = self._numbers(self._body(10, 2))
        self.signatures = self._numbers(self._body(13, 2))
        self.versions = self._numbers(self._body(43, 1)) or [self.legacy_version]
        self.alpn, names = [], self._body(16, 2)
        while names:
            name, names = self._vector(names, 1)
            self.alpn.append(name.decode())

    @staticmethod
    def _vector(data, width):
        size = int.from_bytes(data[:width], "big")
        return data[width:width + size], data[width + size:]

    @staticmethod
    def _numbers(data):
        return [int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2)]

    def _body(self, number, width):
        return self._vector(self.extensions[number], width)[0] if number in self.extensions else b""


# argv: port, file, certificate, key. Completes TLS, answers one request; what it was sent first stands in the file, a line of hex each.
RECORDER = """
import socket, ssl, sys
port, path, cert, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.set_alpn_protocols(["http/1.1"])
server = socket.create_server(("0.0.0.0", int(port)), reuse_port=True)
while True:
    connection, _ = server.accept()
    connection.settimeout(60)
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(came, goes, server_side=True)
    heard = b""
    def step(what):
        global heard
        while True:
            try:
                value = what()
                connection.sendall(goes.read())
                return value
            except ssl.SSLWantReadError:
                connection.sendall(goes.read())
                data = connection.recv(65536)
                if not data:
                    raise OSError("closed")
                heard += data
                came.write(data)
    try:
        step(tls.do_handshake)
        request = b""
        while b"\\r\\n\\r\\n" not in request:
            request += step(lambda: tls.read(65536))
        step(lambda: tls.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nok\\n"))
    except OSError:
        pass
    with open(path, "a") as file:
        file.write(heard.hex() + "\\n")
    connection.close()
"""


def packets(path):
    """TCP payloads of a capture of Ethernet frames (tcpdump -w), empty ones left out."""
    with open(path, "rb") as file:
        data = file.read()
    form = "<IIII" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">IIII"
    found, at = [], 24
    while at + 16 <= len(data):
        size = struct.unpack(form, data[at:at + 16])[2]
        packet = data[at + 16 + 14:at + 16 + size]
        at += 16 + size
        if not packet or packet[0] >> 4 != 4:
            continue
        segment = packet[(packet[0] & 15) * 4:int.from_bytes(packet[2:4], "big")]
        payload = segment[(segment[12] >> 4) * 4:]
        if payload:
            found.append(payload)
    return found
