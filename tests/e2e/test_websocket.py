"""Messages of real programs, each shown as it comes: WebSocket (Node's ws, Python's websockets), WebSocket over HTTP/2 (Node), server-sent
events (curl, Node), gRPC (grpcio)."""
import base64
import os
import re
import subprocess
import unittest

from harness import OSPROXY, PATIENCE, V4, Osproxy, World, main, tshark, wait_for

world = None
HOST = V4[0]
WS, WSS, PYTHON_WSS, H2_WS, EVENTS, GRPC, GRPCS = 9701, 9702, 9703, 9704, 9705, 9706, 9707
# Debian's node looks there by itself, others do not.
NODE = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}

# What is said to it comes back; "close CODE REASON" closes.
NODE_ECHO = """
const fs = require('fs'), [dir, plain, tls] = process.argv.slice(1);
const {WebSocketServer} = require('ws');
const echo = server => new WebSocketServer({server, perMessageDeflate: {threshold: 0}}).on('connection', ws => ws.on('message', (data, isBinary) => {
  const close = !isBinary && /^close (\\d+) (.*)/.exec(data);
  close ? ws.close(Number(close[1]), close[2]) : ws.send(data, {binary: isBinary});
}));
const keys = {cert: fs.readFileSync(dir + '/origin.pem'), key: fs.readFileSync(dir + '/origin.key')};
echo(require('http').createServer().listen(plain));
echo(require('https').createServer(keys).listen(tls));
"""

PYTHON_CLIENT = """
import asyncio, ssl, sys, websockets
url, ca, compression = sys.argv[1:]
async def main():
    context = ssl.create_default_context(cafile=ca) if url.startswith("wss") else None
    async with websockets.connect(url, ssl=context, compression=compression or None, max_size=None) as ws:
        for message in ("hello", "gr\\u00fc\\u00dfe " * 20, bytes(range(256)) * 1000, "hello"):
            await ws.send(message)
            assert await ws.recv() == message
        await (await ws.ping(b"are you there"))
        await ws.send(["in ", "three ", "pieces"])
        assert await ws.recv() == "in three pieces"
        await ws.send("close 4001 enough of this")
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            print(closed.rcvd.code, closed.rcvd.reason)
asyncio.run(main())
"""

PYTHON_ECHO = """
import asyncio, ssl, sys, websockets
async def echo(ws):
    async for message in ws: await ws.send(message)
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1] + "/origin.pem", sys.argv[1] + "/origin.key")
    async with websockets.serve(echo, "0.0.0.0", int(sys.argv[2]), ssl=context): await asyncio.Future()
asyncio.run(main())
"""

NODE_CLIENT = """
const WebSocket = require('ws'), [url, ca] = process.argv.slice(1);
const ws = new WebSocket(url, {ca: require('fs').readFileSync(ca), perMessageDeflate: {threshold: 0}});
const heard = [];
ws.on('open', () => { ws.send('from node '.repeat(9)); ws.ping('p'); });
ws.on('message', data => { heard.push(String(data)); heard.length < 3 ? ws.send(`message ${heard.length}`) : ws.close(1000, 'done'); });
ws.on('close', () => console.log(ws.extensions, heard.length));
"""

# ws speaks over any stream that it is given, an HTTP/2 one too.
H2_ECHO = """
const fs = require('fs'), http2 = require('http2'), WebSocket = require('ws'), [dir, port] = process.argv.slice(1);
const server = http2.createSecureServer({cert: fs.readFileSync(dir + '/origin.pem'), key: fs.readFileSync(dir + '/origin.key'),
                                         settings: {enableConnectProtocol: true}});
server.on('stream', (stream, headers) => {
  if (headers[':protocol'] !== 'websocket') { stream.respond({':status': 200}); stream.end('plain'); return; }
  stream.respond({':status': 200});
  stream.setNoDelay = () => {};
  const ws = new WebSocket(null);
  ws.setSocket(stream, Buffer.alloc(0), {maxPayload: 0, skipUTF8Validation: false});
  ws.on('message', (data, binary) => ws.send(data, {binary}));
});
server.listen(port);
"""

H2_CLIENT = """
const fs = require('fs'), http2 = require('http2'), WebSocket = require('ws'), [url, ca] = process.argv.slice(1);
const client = http2.connect(url, {ca: fs.readFileSync(ca)});
client.on('remoteSettings', settings => {
  if (!settings.enableConnectProtocol) throw new Error('no extended CONNECT');
  const stream = client.request({':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat', 'sec-websocket-version': '13'}, {endStream: false});
  stream.on('response', headers => {
    stream.setNoDelay = () => {};
    const ws = new WebSocket(null);
    ws._isServer = false;
    ws.setSocket(stream, Buffer.alloc(0), {maxPayload: 0, skipUTF8Validation: false});
    ws.on('message', data => { console.log(headers[':status'], String(data)); ws.close(1000, 'done'); });
    ws.on('close', () => client.close());
    ws.send('over h2');
  });
});
"""

# GET /events never ends; GET /say/WORDS makes them an event there.
EVENT_SERVER = """
const fs = require('fs'), http2 = require('http2'), [dir, port] = process.argv.slice(1);
let listener, id = 0;
http2.createSecureServer({cert: fs.readFileSync(dir + '/origin.pem'), key: fs.readFileSync(dir + '/origin.key'), allowHTTP1: true}, (request, response) => {
  if (request.url === '/events') {
    response.writeHead(200, {'content-type': 'text/event-stream'});
    response.write(': welcome\\n\\n');
    listener = response;
  } else {
    listener?.write(`event: said\\nid: ${++id}\\ndata: ${request.url.slice(5)}\\n\\n`);
    response.end();
  }
}).listen(port);
"""

GRPC_SERVER = """
import grpc, sys
from concurrent import futures
def chat(requests, context):
    for request in requests: yield request.upper()
class Generic(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/test.Echo/Chat": return grpc.stream_stream_rpc_method_handler(chat)
        if details.method == "/test.Echo/Fail": return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(grpc.StatusCode.NOT_FOUND, "no such thing"))
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Generic(),))
read = lambda name: open(sys.argv[1] + name, "rb").read()
server.add_insecure_port("0.0.0.0:" + sys.argv[2])
server.add_secure_port("0.0.0.0:" + sys.argv[3], grpc.ssl_server_credentials([(read("/origin.key"), read("/origin.pem"))]))
server.start()
server.wait_for_termination()
"""

GRPC_CLIENT = """
import grpc, sys
address, ca = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(open(ca, "rb").read()) if ca else None
channel = grpc.secure_channel(address, credentials) if ca else grpc.insecure_channel(address)
answers = channel.stream_stream("/test.Echo/Chat")(iter([b"one", b"two" * 100, b""]))
print([len(answer) for answer in answers])
try:
    channel.unary_unary("/test.Echo/Fail")(b"zip " * 500, compression=grpc.Compression.Gzip)
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""


def setUpModule():
    global world
    world = World(nginx=False)
    for script, *arguments in ((NODE_ECHO, world.dir, WS, WSS), (H2_ECHO, world.dir, H2_WS), (EVENT_SERVER, world.dir, EVENTS)):
        world.spawn(["node", "-e", script, *map(str, arguments)], where=world.origin, env=NODE)
    world.python(PYTHON_ECHO, world.dir, PYTHON_WSS, where=world.origin)
    world.python(GRPC_SERVER, world.dir, GRPC, GRPCS, where=world.origin)
    ports = {WS, WSS, PYTHON_WSS, H2_WS, EVENTS, GRPC, GRPCS}
    wait_for(lambda: ports <= {int(p) for p in re.findall(r":(\d+) ", world.run("ss", "-Hltn", where=world.origin).stdout)}, "the servers")


def tearDownModule():
    world.close()


def node(script, *arguments):
    return world.run("node", "-e", script, *arguments, env=NODE).stdout


def python(script, *arguments):
    return world.run("/usr/bin/python3", "-c", script, *arguments).stdout


def payload(flow):
    return base64.b64decode(flow["message"]["payload"])


class WebSocket(unittest.TestCase):
    def test_of_python_to_node(self):
        """Plain and in TLS, with compression and without: the same words on both sides, and in the flows."""
        for scheme, port, compression in (("ws", WS, "deflate"), ("wss", WSS, "deflate"), ("wss", WSS, "")):
            with self.subTest(scheme=scheme, compression=compression), Osproxy(world, "python", "--bodies", "1k") as osproxy:
                said = python(PYTHON_CLIENT, f"{scheme}://{HOST}:{port}/chat", world.trusting("osproxy") if port == WSS else "", compression)
                self.assertEqual(said, "4001 enough of this\n")
                flow = osproxy.wait_for_flow(type="http")
                self.assertEqual((flow["status"], flow["error"], flow["url"].split(":", 1)[1]), (101, None, f"//{HOST}:{port}/chat"))
                messages = osproxy.flows(type="websocket", id=flow["id"], event="message")
                self.assertEqual(osproxy.flows(event="message"), messages)
                self.assertEqual(osproxy.flows(event="start")[0]["id"], flow["id"])
                data = [m for m in messages if m["message"]["kind"] in ("text", "binary")]
                large = bytes(range(256)) * 1000
                words = [b"hello", "grüße ".encode() * 20, large, b"hello", b"in three pieces"]
                for side, expected in (("client", words + [b"close 4001 enough of this"]), ("server", words)):
                    own = [m for m in data if m["message"]["from"] == side]
                    self.assertEqual([payload(m) for m in own], [word[:1024] for word in expected])
                    self.assertEqual([m["message"]["bytes"] for m in own], [len(word) for word in expected])
                    self.assertEqual([m["message"]["payload_cut"] for m in own], [len(word) > 1024 for word in expected])
                    self.assertEqual([m["message"]["kind"] for m in own], ["binary" if word is large else "text" for word in expected])
                    self.assertEqual({m["message"]["compressed"] for m in own}, {bool(compression)})
                    if compression:
                        self.assertLess(own[2]["message"]["wire_bytes"], 10000)
                pings = [(m["message"]["from"], m["message"]["kind"], payload(m)) for m in messages if m["message"]["kind"] in ("ping", "pong")]
                self.assertEqual(pings, [("client", "ping", b"are you there"), ("server", "pong", b"are you there")])
                closes = [m["message"] for m in messages if m["message"]["kind"] == "close"]
                self.assertEqual([(c["from"], c["code"], c["reason"]) for c in closes], [("server", 4001, "enough of this"), ("client", 4001, "enough of this")])
                for side, key in (("client", "request_bytes"), ("server", "response_bytes")):
                    pieces = sum(m["message"]["wire_bytes"] for m in messages if m["message"]["from"] == side)
                    self.assertEqual(flow[key], pieces)

    def test_of_node_to_python(self):
        with Osproxy(world, "node", "--bodies", "1k") as osproxy:
            said = node(NODE_CLIENT, f"wss://{HOST}:{PYTHON_WSS}/", world.trusting("osproxy"))
            self.assertEqual(said, "permessage-deflate 3\n")
            flow = osproxy.wait_for_flow(type="http")
            self.assertEqual((flow["status"], flow["error"]), (101, None))
            messages = [m for m in osproxy.flows(type="websocket") if m["message"]["kind"] == "text"]
            for side in ("client", "server"):
                self.assertEqual([payload(m) for m in messages if m["message"]["from"] == side], [b"from node " * 9, b"message 1", b"message 2"])

    def test_over_http2(self):
        with Osproxy(world, "node", "--bodies", "1k") as osproxy:
            self.assertEqual(node(H2_CLIENT, f"https://{HOST}:{H2_WS}", world.trusting("osproxy")), "200 over h2\n")
            flow = osproxy.wait_for_flow(type="http")
            self.assertEqual((flow["method"], flow["status"], flow["http_version"], flow["url"]), ("CONNECT", 200, "2", f"https://{HOST}:{H2_WS}/chat"))
            messages = osproxy.flows(type="websocket", id=flow["id"])
            self.assertEqual([(m["message"]["from"], m["message"]["kind"]) for m in messages],
                             [("client", "text"), ("server", "text"), ("client", "close"), ("server", "close")])
            self.assertEqual([payload(m) for m in messages[:2]], [b"over h2"] * 2)
            self.assertEqual(messages[2]["message"]["reason"], "done")

    def test_text(self):
        path = f"{world.dir}/websocket.txt"
        with Osproxy(world, "node", "--bodies", "1k", "--output", path, jsonl=False):
            node(NODE_CLIENT, f"wss://{HOST}:{PYTHON_WSS}/", world.trusting("osproxy"))
            wait_for(lambda: len(re.findall(r"101 Switching Protocols .*ms", open(path).read())) > 0, "the flow's end")
        text = open(path).read()
        start = rf"(?m)^(\d\d:){{2}}\d\d node\[\d+\] websocket https://{HOST}:{PYTHON_WSS}/ "
        self.assertRegex(text, rf"(?m)^(\d\d:){{2}}\d\d node\[\d+\] GET https://{HOST}:{PYTHON_WSS}/ → 101 Switching Protocols, under way$")
        self.assertRegex(text, start + r"↑ text 90b \(\d+b on the wire\) from node from node")
        self.assertRegex(text, start + r"↓ text 9b \(\d+b on the wire\) message 2$")
        self.assertRegex(text, start + r"↑ close 1000 done$")
        self.assertNotIn("ping", text)


class EventStream(unittest.TestCase):
    def test_each_event_at_once(self):
        for version in ("1.1", "2"):
            with self.subTest(version), Osproxy(world, "curl", "--bodies", "1k") as osproxy:
                heard = f"{world.dir}/events-{version}"
                address = f"https://{HOST}:{EVENTS}"
                command = ["curl", "-sN", "-m", str(PATIENCE * 4), "--cacert", world.trusting("osproxy"), f"--http{version}", address + "/events"]
                with open(heard, "w") as out:
                    listener = world.spawn(command, stdout=out)
                try:
                    wait_for(lambda: "welcome" in open(heard).read(), "the stream's beginning")
                    for number, word in enumerate(("first", "second", "third"), 1):
                        world.run("curl", "-sk", f"{address}/say/{word}", where=world.origin)
                        wait_for(lambda word=word: f"data: {word}\n\n" in open(heard).read(), "the event at curl")
                        flow = osproxy.wait_for_flows(number, type="sse", event="message")[-1]
                        self.assertEqual((flow["message"]["name"], payload(flow), flow["message"]["bytes"]), ("said", word.encode(), len(word)))
                        self.assertRegex(flow["message"]["id"], r"^\d+$")
                    self.assertIsNone(listener.poll())
                    self.assertEqual(osproxy.flows(type="http", event="end"), [])
                finally:
                    listener.kill()
                    listener.wait()
                end = osproxy.wait_for_flow(type="http")
                self.assertEqual((end["http_version"], end["id"]), (version, flow["id"]))


class Grpc(unittest.TestCase):
    def test_messages_both_ways_and_how_it_ended(self):
        for port, scheme in ((GRPC, "http"), (GRPCS, "https")):
            with self.subTest(scheme), Osproxy(world, "python", "--bodies", "1k") as osproxy:
                said = python(GRPC_CLIENT, f"{HOST}:{port}", world.trusting("osproxy") if port == GRPCS else "")
                self.assertEqual(said, "[3, 300, 0]\nNOT_FOUND no such thing\n")
                chat, failed = osproxy.wait_for_flows(2, type="http")
                self.assertEqual(chat["url"], f"{scheme}://{HOST}:{port}/test.Echo/Chat")
                self.assertIn(["grpc-status", "0"], chat["response_trailers"])
                for flow in (chat, failed):
                    events = [event["event"] for event in osproxy.flows(id=flow["id"])]
                    self.assertEqual((events[0], events.count("start"), events[-1]), ("start", 1, "end"))
                self.assertIn(["grpc-status", "5"], failed.get("response_trailers", []) + failed["response_headers"])
                messages = osproxy.flows(type="grpc", id=chat["id"])
                for side, words in (("client", [b"one", b"two" * 100, b""]), ("server", [b"ONE", b"TWO" * 100, b""])):
                    self.assertEqual([payload(m) for m in messages if m["message"]["from"] == side], words)
                request = osproxy.flows(type="grpc", id=failed["id"])
                self.assertEqual([m["message"]["compressed"] for m in request], [True])
                self.assertLess(request[0]["message"]["bytes"], 2000)
                self.assertTrue(payload(request[0]).startswith(b"\x1f\x8b"))

    def test_wireshark_shows_it_without_a_hint(self):
        """Recorded live and written from a session."""
        path, session, written = (f"{world.dir}/{name}" for name in ("grpc.pcapng", "grpc.osp", "grpc-written.pcapng"))
        with Osproxy(world, "python", "--pcap", path, "--save", session) as osproxy:
            python(GRPC_CLIENT, f"{HOST}:{GRPCS}", world.trusting("osproxy"))
            osproxy.wait_for_flows(2, type="http")
        with open(written, "wb") as file:
            subprocess.run([OSPROXY, "query", session, "-f", "pcapng"], stdout=file, check=True)
        for file in (path, written):
            with self.subTest(file):
                called = tshark(file, "http2.headers.path", show="http2.headers.path")
                self.assertEqual(",".join(path for line in called for path in line), "/test.Echo/Chat,/test.Echo/Fail")
                lengths = ",".join(line[0] for line in tshark(file, "grpc.message_length", show="grpc")).split(",")
                self.assertEqual((lengths.count("3"), lengths.count("300"), lengths.count("0")), (2, 2, 2))

    def test_failure_is_in_the_text(self):
        path = f"{world.dir}/grpc.txt"
        with Osproxy(world, "python", "--output", path, jsonl=False):
            python(GRPC_CLIENT, f"{HOST}:{GRPC}", "")
        self.assertRegex(open(path).read(), r"(?m)/test\.Echo/Fail → 200 OK NOT_FOUND: no such thing ")


if __name__ == "__main__":
    main()
