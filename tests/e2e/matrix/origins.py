"""The origins of the matrix: nginx, nghttpd, and origin.js for what these cannot do. What each request came to is in their logs.

A request has the header x-cell where the program can be told one, an answer x-answer; both say whose they are (nghttpd adds none).
"""
import gzip
import json
import os
import re
import shutil

from harness import World, run, wait_for
from matrix.table import CLIENTS, LARGE, MEDIUM, PIECES, UPLOAD

HERE = os.path.dirname(os.path.abspath(__file__))
PORTS = {"plain": {"h1": 9740}, "nginx": {"h1": 9741, "h2": 9742}, "own": {"h1": 9751, "h2": 9752}, "nghttpd": {"h2": 9762}}
OWN_PLAIN = 9750

NGINX = """
pid {dir}/nginx.pid; error_log {dir}/nginx.err; worker_processes 1;
events {{ worker_connections 1000; }}
http {{
  map $request_uri $id {{ ~^/(?<first>[^/]+)/ $first; }}
  log_format own escape=json '{{"id":"$id","method":"$request_method","path":"$request_uri","status":$status,"received":0,'
    '"sent":$body_bytes_sent,"user-agent":"$http_user_agent","x-cell":"$http_x_cell","done":"$request_completion"}}';
  access_log {dir}/nginx.jsonl own; client_max_body_size 0; default_type application/octet-stream; absolute_redirect off;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{
    listen 9740; listen 9741 ssl; listen 9742 ssl http2;
    ssl_certificate {dir}/origin.pem; ssl_certificate_key {dir}/origin.key;
    add_header X-Answer "$id by nginx" always;
    location ~ ^/[^/]+/(small|medium|large|text)$ {{ alias {dir}/www/$1; gzip_static on; }}
    location ~ ^/[^/]+/apt/(.+)$ {{ alias {dir}/www/apt/$1; }}
    location ~ ^/[^/]+/nothing$ {{ return 204; }}
    location ~ ^/([^/]+)/moved$ {{ return 302 /$1/small; }}
    location ~ ^/[^/]+/put$ {{
      access_log off; proxy_hide_header X-Answer; proxy_pass http://127.0.0.1:9750; proxy_http_version 1.1; proxy_request_buffering off;
    }}
  }}
}}
"""


def nghttpd_entries(lines):
    """What nghttpd -v says of the requests of the cells, in the form of the other logs."""
    requests, stream, fields = {}, None, None
    for line in lines:
        if said := re.match(r"\[id=(\d+)\] \[ *[\d.]+\] (recv|send)? ?(.*)", line):
            connection, direction, rest = said.groups()
            fields = None
            if field := re.match(r"\(stream_id=(\d+)\) (:?[^:]+): (.*)", rest):
                stream, name, value = field.groups()
                requests.setdefault((connection, stream), {"request": [], "response": [], "sent": 0, "closed": False})["request"].append((name, value))
            elif frame := re.match(r"(HEADERS|DATA) frame <length=(\d+), flags=\w+, stream_id=(\d+)>", rest):
                request = requests.get((connection, frame[3]))
                if direction == "send" and frame[1] == "HEADERS":
                    fields = request["response"]
                elif direction == "send":
                    request["sent"] += int(frame[2])
            elif closed := re.match(r"stream_id=(\d+) closed", rest):
                requests[connection, closed[1]]["closed"] = True
        elif fields is not None and (field := re.match(r" +(:?[\w-]+): (.*)", line)):
            fields.append(field.groups())
    return [entry for entry in map(nghttpd_entry, requests.values()) if entry["id"].endswith("-nghttpd")]


def nghttpd_entry(request):
    fields, answer = dict(request["request"]), dict(request["response"])
    path = fields.get(":path", "/")  # the last request may not stand there in full
    return {"id": path.split("/")[1], "method": fields.get(":method"), "path": path, "version": "2.0",
            "headers": [word for field in request["request"] for word in field], "status": int(answer.get(":status", 0)), "received": 0,
            "sent": request["sent"], "complete": request["closed"] and "x-check" in answer}


class Origins:
    """`world` without harness.py's nginx, and what the clients of the matrix talk to."""

    def __init__(self, clients=()):
        self.world = World(nginx=False)
        self.dir = self.world.dir
        self.log = f"{self.dir}/own.jsonl"
        self.nghttpd_log = f"{self.dir}/nghttpd.log"
        self.reports = f"{self.dir}/reports"
        self.files = {}
        for folder in ("www/apt", "repositories", "reports", "home"):
            os.makedirs(f"{self.dir}/{folder}")
        self._files()
        if "git" in clients:
            self._repositories()
        if "apt" in clients:
            self._packages()
        self._start()

    def _files(self):
        for name, size in (("small", 2000), ("medium", MEDIUM), ("large", LARGE), ("upload", UPLOAD), ("slow", 40000 * PIECES)):
            self.files[name] = f"{self.dir}/www/{name}"
            with open("/dev/urandom", "rb") as source, open(self.files[name], "wb") as out:
                for _ in range(0, size, 1 << 20):
                    out.write(source.read(min(size, 1 << 20)))
                out.truncate(size)
        self.files["text"] = f"{self.dir}/www/text"
        with open(self.files["text"], "wb") as file:
            file.write((b"the same words again and again\n" * 10000)[:300000])
        with open(self.files["text"], "rb") as plain, open(self.files["text"] + ".gz", "wb") as packed:
            packed.write(gzip.compress(plain.read(), mtime=0))
        self.etag = None

    def _repositories(self):
        """small.git and large.git, of which the first is what the second grew from."""
        git = ["git", "-c", "user.name=e2e", "-c", "user.email=e2e@one.test", "-c", "core.compression=0", "-C", f"{self.dir}/work"]
        run("git", "init", "-q", "-b", "main", f"{self.dir}/work")
        for name, file in (("small", "small"), ("medium", "medium"), ("large", "large")):
            shutil.copy(self.files[file], f"{self.dir}/work/{file}")
            run(*git, "add", ".")
            run(*git, "commit", "-q", "-m", name)
            run("git", "clone", "-q", "--bare", f"{self.dir}/work", f"{self.dir}/repositories/{name}.git")

    def _packages(self):
        """A flat repository without signatures."""
        folder = f"{self.dir}/www/apt"
        with open(f"{folder}/Packages", "w") as file:
            file.write("Package: nothing\nVersion: 1\nArchitecture: all\nDescription: nothing\nFilename: nothing.deb\nSize: 0\n")
        digest = run("sha256sum", f"{folder}/Packages").stdout.split()[0]
        with open(f"{folder}/Release", "w") as file:
            file.write(f"Suite: e2e\nDate: Mon, 01 Jan 2024 00:00:00 UTC\nSHA256:\n {digest} {os.path.getsize(folder + '/Packages')} Packages\n")

    def new_targets(self, ids):
        """An empty repository for each id that pushes: PUSH-ID.git."""
        for name in ids:
            path = f"{self.dir}/repositories/push-{name}.git"
            shutil.rmtree(path, ignore_errors=True)
            run("git", "init", "-q", "--bare", "-b", "main", path)
            run("git", "-C", path, "config", "http.receivepack", "true")

    def _start(self):
        world = self.world
        with open(f"{self.dir}/nginx.conf", "w") as file:
            file.write(NGINX.format(dir=self.dir))
        keys = [f"{self.dir}/origin.key", f"{self.dir}/origin.pem"]
        world.spawn(["nginx", "-c", f"{self.dir}/nginx.conf", "-g", "daemon off;"], where=world.origin)
        # Its URLs are those of the others, /ID/large: a link for each.
        words = ["nghttpd", "-v", "-d", self.make_links(), "--trailer", "x-check: 42", str(PORTS["nghttpd"]["h2"]), *keys]
        world.spawn(words, where=world.origin, stdout=open(self.nghttpd_log, "a"))  # "a": it is emptied between the runs
        config = {"log": self.log, "key": keys[0], "cert": keys[1], "repositories": f"{self.dir}/repositories", "reports": self.reports,
                  "plain": OWN_PLAIN, **PORTS["own"]}
        world.spawn(["node", f"{HERE}/origin.js", json.dumps(config)], where=world.origin)
        for origin in PORTS.values():
            for port in origin.values():
                wait_for(lambda port=port: self.answers(port), f"the origin at port {port}")
        etag = [line for line in self.curl("-I", f"https://one.test:{PORTS['nginx']['h1']}/x/small").stdout.splitlines() if line.lower().startswith("etag")]
        self.etag = etag[0].split(": ")[1]

    def make_links(self):
        folder = f"{self.dir}/nghttpd"
        for client in CLIENTS:  # all of them: few, and nothing knows yet which are asked
            os.makedirs(f"{folder}/{client}-h2-nghttpd")
            os.link(self.files["large"], f"{folder}/{client}-h2-nghttpd/large")
        return folder

    def curl(self, *words):
        resolve = [word for origin in PORTS.values() for port in origin.values() for word in ("--resolve", f"one.test:{port}:192.0.2.2")]
        return self.world.run("curl", "-sS", "--cacert", f"{self.dir}/ca.pem", *resolve, *words, check=False)

    def answers(self, port):
        return self.curl(f"{'http' if port == 9740 else 'https'}://one.test:{port}/", "-o", "/dev/null").returncode == 0

    def url(self, origin, version, name, resource):
        if origin == "plain":
            return f"http://one.test:{PORTS['plain']['h1']}/{name}/{resource}"
        return f"https://one.test:{PORTS[origin][version]}/{name}/{resource}"

    def known(self):
        """What the origins have written down, by id."""
        found = {}
        for path in (self.log, f"{self.dir}/nginx.jsonl"):
            with open(path) as file:
                for line in file:
                    entry = json.loads(line)
                    entry.setdefault("complete", entry.pop("done", None) == "OK")
                    found.setdefault(entry["id"], []).append(entry)
        with open(self.nghttpd_log) as file:
            for entry in nghttpd_entries(file):
                found.setdefault(entry["id"], []).append(entry)
        return found

    def forget(self):
        for path in (self.log, f"{self.dir}/nginx.jsonl", self.nghttpd_log):
            os.truncate(path, 0)
        for name in os.listdir(self.reports):
            os.remove(f"{self.reports}/{name}")
