"""Debian's chromium, which trusts the CA through NSS as on a desktop: a page with 100 resources over HTTP/2, and a WebSocket."""
import base64
import hashlib
import json
import os
import struct
import types
import unittest
import zlib

from harness import OSPROXY, PATIENCE, Osproxy, World, main, run, wait_for
from matrix.clients import Runner, end_chromium, start_chromium

COUNTS = {"png": 40, "js": 30, "css": 30}
ECHOED = 300000

NGINX = """
pid {dir}/nginx.pid; error_log {dir}/nginx.err; worker_processes 1;
events {{ worker_connections 1000; }}
http {{
  log_format own '$server_protocol $request_uri $status';
  access_log {dir}/access.log own; include /etc/nginx/mime.types; root {dir}/www;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{
    listen 443 ssl http2; ssl_certificate {dir}/origin.pem; ssl_certificate_key {dir}/origin.key;
    location /socket {{
      proxy_pass http://127.0.0.1:9771; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""

# python3-websockets, which compresses as chromium offers it: the first message comes back, the second is the page's report.
SOCKET = """
import asyncio, os, sys, websockets
async def serve(socket):
    await socket.send(await socket.recv())
    report = await socket.recv()
    with open(sys.argv[1] + ".part", "w") as file:
        file.write(report)
    os.rename(sys.argv[1] + ".part", sys.argv[1])
async def main():
    async with websockets.serve(serve, "127.0.0.1", 9771):
        await asyncio.Future()
asyncio.run(main())
"""

# The browser compares the digests of scripts and styles itself (integrity), and a PNG has a sum of its own.
PAGE = """<!doctype html><meta charset="utf-8"><title>100</title>
<script>const ran = [];</script>
%s
<script>
const counted = () => ({
  png: [...document.images].filter((image) => image.complete && image.naturalWidth === 50).length,
  js: ran.length,
  css: [...Array(%d).keys()].filter((i) => getComputedStyle(document.body).getPropertyValue(`--css${i}`).trim() === `${i}`).length,
  protocols: [...new Set(performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol))],
});
window.onload = () => {
  const sent = 'over a socket '.repeat(%d).slice(0, %d);
  const socket = new WebSocket('wss://one.test/socket');
  socket.onopen = () => socket.send(sent);
  socket.onmessage = (message) => {
    socket.send(JSON.stringify({ ...counted(), echo: message.data === sent, extensions: socket.extensions }));
    socket.close(1000);
  };
};
</script>
"""
ELEMENTS = {
    "png": '<img src="{name}">',
    "js": '<script src="{name}" integrity="sha256-{digest}"></script>',
    "css": '<link rel="stylesheet" href="{name}" integrity="sha256-{digest}">',
}


def png(size):
    """Of 50 x 50 points, with `size` bytes that compress to nothing less."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", struct.pack(">IIBBBBB", 50, 50, 8, 0, 0, 0, 0)), chunk(b"prVt", os.urandom(size)),
                                            chunk(b"IDAT", zlib.compress((b"\0" + bytes(50)) * 50)), chunk(b"IEND", b"")])


def content(kind, number):
    padding = "/* it passes as it was sent */\n" * (number * 100)
    if kind == "png":
        return png(number * 2000)
    return (f"ran.push({number});\n{padding}" if kind == "js" else f":root {{ --css{number}: {number} }}\n{padding}").encode()


def setUpModule():
    global world, runner, sizes
    world = World(nginx=False)
    os.makedirs(f"{world.dir}/home")
    os.makedirs(f"{world.dir}/www")
    sizes = write_page()
    with open(f"{world.dir}/nginx.conf", "w") as file:
        file.write(NGINX.format(dir=world.dir))
    world.spawn(["nginx", "-c", f"{world.dir}/nginx.conf", "-g", "daemon off;"], where=world.origin)
    world.python(SOCKET, f"{world.dir}/report", where=world.origin)
    wait_for(lambda: world.curl("https://one.test/", check=False).returncode == 0, "nginx")
    runner = Runner(types.SimpleNamespace(world=world, dir=world.dir), f"{world.ca_dir}/root-ca.pem")


def tearDownModule():
    world.close()


def write_page():
    """The page and what it is made of; {path: size}."""
    found, elements = {}, []
    for kind, count in COUNTS.items():
        for number in range(count):
            data, name = content(kind, number), f"{number}.{kind}"
            with open(f"{world.dir}/www/{name}", "wb") as file:
                file.write(data)
            found[f"/{name}"] = len(data)
            elements.append(ELEMENTS[kind].format(name=name, digest=base64.b64encode(hashlib.sha256(data).digest()).decode()))
    with open(f"{world.dir}/www/index.html", "w") as file:
        file.write(PAGE % ("\n".join(elements), COUNTS["css"], ECHOED, ECHOED))
    found["/"] = os.path.getsize(f"{world.dir}/www/index.html")
    return found


class Chromium(unittest.TestCase):
    def test_100_resources_and_a_socket(self):
        report = f"{world.dir}/report"
        with Osproxy(world, "chromium") as osproxy:
            browser = start_chromium(runner, "https://one.test/")
            try:
                wait_for(lambda: os.path.exists(report) or browser.poll() is not None, "the page's report", PATIENCE * 4)
                learned = run(OSPROXY, "learned").stdout
            finally:
                end_chromium(browser)
            socket = osproxy.wait_for_flow(type="http", status=101)
            self.check_report(report)
            self.check_resources(osproxy)
            self.check_socket(socket)
            self.assertEqual(osproxy.flows(type="pass"), [])
            # A connection that it turns out not to need, once the other one speaks HTTP/2, is closed unused.
            for spare in osproxy.flows(type="tls_error"):
                self.assertRegex(spare["error"], "^the program closed the connection ")
            self.assertIn("nothing learned", learned)

    def check_report(self, path):
        self.assertTrue(os.path.exists(path), "chromium ended before the page had loaded")
        with open(path) as file:
            said = json.load(file)
        self.assertEqual({kind: said[kind] for kind in COUNTS}, COUNTS)
        self.assertEqual(said["protocols"], ["h2"])
        self.assertTrue(said["echo"])
        self.assertIn("permessage-deflate", said["extensions"])

    def check_resources(self, osproxy):
        flows = [flow for flow in osproxy.flows(type="http", event="end") if flow["url"].removeprefix("https://one.test") in sizes]
        self.assertEqual({flow["url"].removeprefix("https://one.test"): flow["response_bytes"] for flow in flows}, sizes)
        self.assertEqual(len(flows), len(sizes), "something was loaded twice")
        self.assertEqual(len(sizes), 101)
        for key, wanted in {"method": "GET", "status": 200, "http_version": "2", "error": None, "decision": "intercept"}.items():
            self.assertEqual({flow[key] for flow in flows}, {wanted}, key)
        self.assertEqual({flow["process"]["name"] for flow in flows}, {"chromium"})
        self.assertEqual(len({flow["conn"] for flow in flows}), 1, "a browser needs one connection")

    def check_socket(self, flow):
        self.assertEqual((flow["method"], flow["url"], flow["http_version"], flow["error"]), ("GET", "https://one.test/socket", "1.1", None))
        self.assertEqual(flow["process"]["name"], "chromium")
        self.assertIn(["Upgrade", "websocket"], flow["request_headers"])


if __name__ == "__main__":
    main()
