"""mitmproxy's side of the tests of its flow files: format_mitm_check.py COMMAND FILE.

read:   reads FILE with mitmproxy's own FlowReader and prints what it has read, a line a field.
write:  writes flows to FILE with mitmproxy's own FlowWriter.
capture: has mitmdump record real connections, plain and in TLS, into FILE; in a network namespace of its own.
strict: checks FILE against the keys and types of flow format 21, which the mitmproxy of this machine
        does not know; the table is that of its own state classes of 2026."""
import gzip
import http.server
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

NoneType = type(None)
BYTES, STR, INT, FLOAT, BOOL = bytes, str, int, float, bool


def null_or(*types):
    return (NoneType, *types)


ADDRESS = [STR, INT]
SIDE = {
    "id": STR, "transport_protocol": {"tcp", "udp"}, "error": null_or(STR), "tls": BOOL, "certificate_list": ("list", BYTES),
    "alpn": null_or(BYTES), "alpn_offers": ("list", BYTES), "cipher": null_or(STR), "cipher_list": ("list", STR),
    "tls_version": {None, "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", "DTLSv0.9", "DTLSv1", "DTLSv1.2", "QUICv1"},
    "sni": null_or(STR), "timestamp_end": null_or(FLOAT), "timestamp_tls_setup": null_or(FLOAT),
}
CLIENT = {**SIDE, "peername": ADDRESS, "sockname": ADDRESS, "timestamp_start": FLOAT, "mitmcert": null_or(BYTES), "proxy_mode": {"local"}}
SERVER = {**SIDE, "peername": ("null or", ADDRESS), "sockname": ("null or", ADDRESS), "address": ("null or", ADDRESS),
          "timestamp_start": null_or(FLOAT), "timestamp_tcp_setup": null_or(FLOAT), "via": ("null or", [STR, ADDRESS])}
FLOW = {
    "version": {21}, "type": {"http", "tcp", "udp", "dns"}, "id": STR, "error": ("null or", {"msg": STR, "timestamp": FLOAT}),
    "client_conn": CLIENT, "server_conn": SERVER, "intercepted": BOOL, "is_replay": {None, "request", "response"}, "marked": STR,
    "metadata": dict, "comment": STR, "timestamp_created": FLOAT, "backup": null_or(dict),
}
FIELDS = ("list", [BYTES, BYTES])
MESSAGE = {"http_version": BYTES, "headers": FIELDS, "content": null_or(BYTES), "trailers": ("null or", FIELDS), "timestamp_start": FLOAT,
           "timestamp_end": null_or(FLOAT)}
REQUEST = {**MESSAGE, "host": STR, "port": INT, "method": BYTES, "scheme": BYTES, "authority": BYTES, "path": BYTES}
RESPONSE = {**MESSAGE, "status_code": INT, "reason": BYTES}
WEBSOCKET = {"messages": ("list", [{1, 2}, BOOL, BYTES, FLOAT, BOOL, BOOL]), "closed_by_client": null_or(BOOL), "close_code": null_or(INT),
             "close_reason": null_or(STR), "timestamp_end": null_or(FLOAT)}
QUESTION = {"name": STR, "type": INT, "class_": INT}
RECORDS = ("list", {**QUESTION, "ttl": INT, "data": BYTES})
DNS = {"id": INT, "query": BOOL, "op_code": INT, "authoritative_answer": BOOL, "truncation": BOOL, "recursion_desired": BOOL,
       "recursion_available": BOOL, "reserved": INT, "response_code": INT, "questions": ("list", QUESTION), "answers": RECORDS,
       "authorities": RECORDS, "additionals": RECORDS, "timestamp": null_or(FLOAT)}
KINDS = {
    "http": {"request": REQUEST, "response": ("null or", RESPONSE), "websocket": ("null or", WEBSOCKET)},
    "tcp": {"messages": ("list", [BOOL, BYTES, FLOAT])},
    "udp": {"messages": ("list", [BOOL, BYTES, FLOAT])},
    "dns": {"request": DNS, "response": ("null or", DNS)},
}


def check(value, wanted, where):
    if isinstance(wanted, dict):
        if not isinstance(value, dict) or value.keys() != wanted.keys():
            sys.exit(f"{where}: keys {sorted(value) if isinstance(value, dict) else value}, expected {sorted(wanted)}")
        for key, inside in wanted.items():
            check(value[key], inside, f"{where}.{key}")
    elif isinstance(wanted, set):
        if value not in wanted:
            sys.exit(f"{where}: {value!r}, expected one of {wanted}")
    elif isinstance(wanted, list):
        if not isinstance(value, list) or len(value) != len(wanted):
            sys.exit(f"{where}: {value!r}, expected {len(wanted)} items")
        for number, (item, inside) in enumerate(zip(value, wanted)):
            check(item, inside, f"{where}[{number}]")
    elif isinstance(wanted, tuple) and wanted[0] == "list":
        if not isinstance(value, list):
            sys.exit(f"{where}: {value!r}, expected a list")
        for number, item in enumerate(value):
            check(item, wanted[1], f"{where}[{number}]")
    elif isinstance(wanted, tuple) and wanted[0] == "null or":
        if value is not None:
            check(value, wanted[1], where)
    elif type(value) not in (wanted if isinstance(wanted, tuple) else (wanted,)):
        sys.exit(f"{where}: {value!r}, expected {wanted}")


def pop(data):
    """Of a typed netstring: the value and what is behind it. Not mitmproxy's own code."""
    length, rest = data.split(b":", 1)
    if str(int(length)).encode() != length or len(length) > 12:
        sys.exit(f"length {length}")
    payload, tag, rest = rest[:int(length)], rest[int(length):int(length) + 1], rest[int(length) + 1:]
    if tag in b"]}":
        items = []
        while payload:
            item, payload = pop(payload)
            items.append(item)
        if tag == b"]":
            return items, rest
        keys = items[::2]
        if len(set(keys)) != len(keys) or not all(isinstance(key, str) for key in keys):
            sys.exit(f"keys {keys}")
        return dict(zip(keys, items[1::2], strict=True)), rest
    return {b",": lambda: payload, b";": payload.decode, b"#": lambda: int(payload), b"^": lambda: float(payload),
            b"!": lambda: {b"true": True, b"false": False}[payload], b"~": lambda: None}[tag](), rest


def strict(path):
    with open(path, "rb") as file:
        data = file.read()
    number = 0
    while data:
        flow, data = pop(data)
        number += 1
        check(flow, {**FLOW, **KINDS[flow["type"]]}, f"flow {number}")
        for value in flow["metadata"].values():
            if type(value) not in (str, int, float, bool):
                sys.exit(f"flow {number}: metadata {value!r}")
    print(number)


def read(path):
    from mitmproxy import io
    with open(path, "rb") as file:
        for flow in io.FlowReader(file).stream():
            fields = {"type": flow.type, "id": flow.id, "marked": flow.marked, "comment": flow.comment,
                      "error": flow.error.msg if flow.error else None, "created": flow.timestamp_created,
                      "process": flow.metadata.get("process.name"), "pid": flow.metadata.get("process.pid"),
                      "kind": flow.metadata["osproxy.type"],
                      "client": flow.client_conn.peername, "server": flow.server_conn.peername, "address": flow.server_conn.address,
                      "sni": flow.client_conn.sni, "tls": flow.client_conn.tls_version, "upstream": flow.server_conn.cipher}
            if flow.type == "http":
                request, response = flow.request, flow.response
                fields |= {"method": request.method, "url": request.url, "pretty": request.pretty_url, "version": request.http_version,
                           "first line": request.data.authority, "request headers": request.headers.fields, "request body": request.raw_content,
                           "request trailers": request.trailers.fields if request.trailers else None,
                           "request ended": request.timestamp_end}
                if response:
                    fields |= {"status": response.status_code, "reason": response.reason, "response headers": response.headers.fields,
                               "response body": response.raw_content, "response began": response.timestamp_start}
                if flow.websocket:
                    fields |= {"messages": [(m.from_client, m.is_text, m.content) for m in flow.websocket.messages],
                               "closed": (flow.websocket.closed_by_client, flow.websocket.close_code, flow.websocket.close_reason)}
            elif flow.type == "tcp":
                fields |= {"messages": [(m.from_client, m.content, m.timestamp) for m in flow.messages]}
            else:
                fields |= {"question": flow.request.questions[0].to_json(), "answers": [str(a) for a in flow.response.answers] if flow.response else None}
            for key, value in fields.items():
                print(f"{flow.metadata['osproxy.id']} {key}: {value!r}")


def write(path):
    from mitmproxy import io
    from mitmproxy.test import tflow
    flows = [tflow.tflow(resp=True), tflow.tflow(err=True), tflow.twebsocketflow(), tflow.ttcpflow(err=True), tflow.tdnsflow(resp=True),
             tflow.tflow(resp=True)]
    for number, flow in enumerate(flows):
        flow.id = f"00000000-0000-4000-8000-00000000000{number}"
        flow.comment = f"number {number}"
        flow.client_conn.id = f"client {number}"
    flows[0].marked = ":default:"
    flows[5].response.raw_content = None
    with open(path, "wb") as file:
        writer = io.FlowWriter(file)
        for flow in flows:
            writer.add(flow)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = gzip.compress(b"seen: " + self.rfile.read(int(self.headers["content-length"])))
        self.send_response(203)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def wait_for(port):
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


def capture(path):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        key = f"{folder}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", key + ".crt"],
                       check=True, capture_output=True)
        servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer) for port in (8080, 8443)]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key + ".crt", key)
        servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        dump = subprocess.Popen(["/usr/bin/mitmdump", "-q", "-w", path, "-p", "3128", "--set", f"confdir={folder}", "--ssl-insecure"])
        wait_for(3128)
        for url in ("http://127.0.0.1:8080/plain?q", "https://localhost:8443/tls"):
            subprocess.run(["curl", "-skx", "http://127.0.0.1:3128", "--data-binary", "@-", url], input=b"a\0b", check=True, capture_output=True)
        dump.terminate()
        dump.wait()


if __name__ == "__main__":
    {"read": read, "write": write, "capture": capture, "strict": strict}[sys.argv[1]](sys.argv[2])
