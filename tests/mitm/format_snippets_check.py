"""Runs snippets: format_snippets_check.py FOLDER, in a network namespace of its own. Each case is NAME.TOOL, a command or a program, and
NAME.json, what the server must get of it: method, target, fields, body. Fields that a tool adds by itself are those of ADDED, and no
others."""
import base64
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading

PORT = 8080
FRAMING = {"host", "content-length", "connection"}
ADDED = {"fetch": {"accept", "accept-language", "accept-encoding", "user-agent", "sec-fetch-mode"},
         "wget": {"accept", "accept-encoding"}, "curl": set(), "httpie": {"accept-encoding"}, "requests": set(), "raw": set()}
RUN = {"curl": ["/bin/sh"], "httpie": ["/bin/sh"], "wget": ["/bin/sh"], "fetch": ["node"], "requests": ["/usr/bin/python3"]}


class Server:
    """Answers each request with 200, and keeps the last one as it came."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", PORT), backlog=64)
        self.got = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, client.makefile("rb") as file:
            line = file.readline()
            if not line:
                return
            method, target, _ = line.rstrip(b"\r\n").split(b" ", 2)
            fields, body = [], b""
            while (field := file.readline().rstrip(b"\r\n")):
                name, value = field.split(b":", 1)
                fields.append((name.lower().decode(), value.strip().decode("latin-1")))
            sizes = [int(value) for name, value in fields if name == "content-length"]
            if len(sizes) > 1:
                sys.exit(f"content-length comes twice: {fields}")
            if sizes:
                body = file.read(sizes[0])
            self.got.append({"method": method.decode(), "target": target.decode("latin-1"), "fields": fields, "body": body})
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def run(tool, path, folder):
    if tool == "raw":
        with socket.create_connection(("127.0.0.1", PORT)) as client:
            client.sendall(path.read_bytes())
            client.recv(100)
        return
    if tool == "fetch":
        path = path.rename(path.with_name(path.name + ".mjs"))
    environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*RUN[tool], str(path)], env=environment, cwd=folder, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"{path.name}: exit {done.returncode}: {done.stderr.decode(errors='replace')}\n{path.read_text(errors='replace')[:2000]}")


def compare(case, tool, wanted, got):
    expected = [(name.lower(), value) for name, value in wanted["fields"]]
    names = {name for name, _ in expected}
    found = [field for field in got["fields"] if field[0] in names or field[0] not in FRAMING | ADDED[tool]]
    for key, left, right in (("method", wanted["method"], got["method"]), ("target", wanted["target"], got["target"]),
                             ("fields", sorted(expected), sorted(found)), ("body", base64.b64decode(wanted["body"]), got["body"])):
        if left != right:
            sys.exit(f"{case}, {tool}: {key}: expected {left!r:.2000}, found {right!r:.2000}")


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = Server()
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
            case, tool = path.name.rsplit(".", 1)
            if tool == "json":
                continue
            wanted = json.loads(path.with_name(case + ".json").read_text())
            run(tool, path, folder)
            if len(server.got) != 1:
                sys.exit(f"{case}, {tool}: {len(server.got)} requests")
            compare(case, tool, wanted, server.got.pop())
            number += 1
    print(number)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
