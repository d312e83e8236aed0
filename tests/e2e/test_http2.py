"""HTTP/2 of real programs (curl, nghttp, h2load) to real servers (nghttpd, nginx): passed through as it is, shown stream by stream."""
import subprocess
import unittest

from harness import ASAN, OSPROXY, PATIENCE, TOP, Osproxy, World, main, run, tshark, wait_for

world = None
TLS, PLAIN, NGINX_PORT, UPGRADING = 9543, 9580, 9643, 9743
AT = f"https://one.test:{TLS}"

NGINX_H2 = """
pid {dir}/h2.pid; error_log {dir}/h2.err; worker_processes 1;
events {{ worker_connections 1000; }}
http {{
  access_log off; client_body_temp_path {dir}/b2; client_max_body_size 0; keepalive_requests 1000000; default_type text/plain;
  server {{
    listen {port} ssl http2; listen [::]:{port} ssl http2; ssl_certificate {dir}/origin.pem; ssl_certificate_key {dir}/origin.key;
    location / {{ return 200 "hello from $host\\n"; }}
    location /files/ {{ root {dir}/www; }}
    location /nothing {{ return 204; }}
    location /moved {{ return 302 /; }}
    location /quic {{ add_header alt-svc 'h3=":443"; ma=86400'; return 200 "quic\\n"; }}
  }}
}}
"""


def setUpModule():
    global world
    world = World()
    files = f"{world.dir}/www"
    keys = [f"{world.dir}/origin.key", f"{world.dir}/origin.pem"]
    world.spawn(["nghttpd", "-d", files, "--trailer", "x-check: 42", "-p/small=/pushed", str(TLS), *keys], where=world.origin)
    world.spawn(["nghttpd", "-d", files, "--no-tls", str(PLAIN)], where=world.origin)
    world.spawn(["nghttpx", f"--frontend=*,{UPGRADING};no-tls", "--frontend-http2-encoder-dynamic-table-size=16384",
                 "--backend=127.0.0.1,80", "--workers=1", "--conf=/dev/null"], where=world.origin)
    with open(f"{world.dir}/h2.conf", "w") as file:
        file.write(NGINX_H2.format(dir=world.dir, port=NGINX_PORT))
    world.spawn(["nginx", "-c", f"{world.dir}/h2.conf", "-g", "daemon off;"], where=world.origin)
    for name, text in (("small", "little\n"), ("pushed", "pushed\n")):
        with open(f"{files}/{name}", "w") as file:
            file.write(text)
    for url in (AT, f"https://one.test:{NGINX_PORT}"):
        wait_for(lambda url=url: curl(url + "/", check=False).returncode == 0, url)
    wait_for(lambda: curl(f"http://one.test:{PLAIN}/small", "--http2-prior-knowledge", check=False).returncode == 0, "nghttpd without TLS")
    wait_for(lambda: curl(f"http://one.test:{UPGRADING}/", check=False).returncode == 0, "nghttpx")


def tearDownModule():
    world.close()


def curl(url, *more, **options):
    resolve = [word for port in (TLS, PLAIN, NGINX_PORT, UPGRADING) for word in ("--resolve", f"one.test:{port}:192.0.2.2")]
    return world.curl(url, *resolve, "-w", "%{stderr}%{http_version} %{http_code}", *more, **options)


class Http2(unittest.TestCase):
    def test_agreed_on_when_the_server_does_and_shown(self):
        for port, server in ((TLS, "nghttpd nghttp2/"), (NGINX_PORT, "nginx")):
            with self.subTest(server), Osproxy(world, "curl") as osproxy:
                path = "/small" if port == TLS else "/a?b=c"
                answer = curl(f"https://one.test:{port}{path}", "-H", "X-Odd: 1", trust="osproxy")
                self.assertEqual(answer.stderr, "2 200")
                flow = osproxy.wait_for_flow(type="http")
                self.assertEqual((flow["method"], flow["url"], flow["http_version"], flow["status"]), ("GET", f"https://one.test:{port}{path}", "2", 200))
                self.assertEqual((flow["host"], flow["tls"]["alpn"], flow["process"]["name"], flow["error"]), ("one.test", "h2", "curl", None))
                self.assertIn(["x-odd", "1"], flow["request_headers"])
                self.assertTrue(dict(flow["response_headers"])["server"].startswith(server))
                self.assertEqual(flow["response_bytes"], len(answer.stdout))
                self.assertEqual(flow.get("response_trailers"), [["x-check", "42"]] if port == TLS else None)

    def test_wireshark_shows_the_recording_without_a_hint(self):
        """HTTP/2 and HTTP/1 on one port, recorded live and written from a session; each packet names its process."""
        path, session, written = (f"{world.dir}/{name}" for name in ("http2.pcapng", "http2.osp", "written.pcapng"))
        with Osproxy(world, "curl", "--pcap", path, "--save", session) as osproxy:
            for version in ("--http2", "--http1.1"):
                curl(f"https://one.test:{NGINX_PORT}/{version[2:]}", version, "-H", "X-Odd: 1", "-d", "posted", trust="osproxy")
            flows = osproxy.wait_for_flows(2, type="http")
        with open(written, "wb") as file:
            subprocess.run([OSPROXY, "query", session, "-f", "pcapng"], stdout=file, check=True)
        of = {flow["url"].rsplit("/", 1)[1]: f"curl[{flow['process']['pid']}]" for flow in flows}
        for file in (path, written):
            with self.subTest(file):
                shown = tshark(file, "frame.interface_name", "tcp.dstport", "http2.headers.path", "http.request.uri", show="http2.headers.path || http.request.uri")
                self.assertEqual(shown, [[of["http2"], "80", "/http2", ""], [of["http1.1"], str(NGINX_PORT), "", "/http1.1"]])
                self.assertEqual(tshark(file, "http2.headers.status", show="http2.headers.status"), [["200"]])
                self.assertEqual(tshark(file, "http.response.code", "http.file_data", show="http.response"), [["200", "hello from one.test\\n"]])
                self.assertEqual(tshark(file, "frame.comment", show="frame.comment && tcp.flags.syn")[0][0].split(" -sS ")[0], f"{of['http2']}, user {flows[0]['process']['user']}: curl")
                self.assertIn(f"; server port {NGINX_PORT} (80 here, where Wireshark looks for HTTP/2)", tshark(file, "frame.comment", show="frame.comment")[0][0])
                self.assertEqual(tshark(file, "frame.number", show="_ws.malformed || tcp.analysis.flags"), [])

    def test_a_server_without_it_is_spoken_to_in_http_1_1(self):
        with Osproxy(world, "curl"):
            self.assertEqual(curl("https://one.test/", trust="osproxy").stderr, "1.1 200")

    def test_prior_knowledge_and_upgrade(self):
        with Osproxy(world, "curl") as osproxy:
            self.assertEqual(curl(f"http://one.test:{PLAIN}/small", "--http2-prior-knowledge").stderr, "2 200")
            self.assertEqual(osproxy.wait_for_flow(type="http")["url"], f"http://one.test:{PLAIN}/small")
            self.assertEqual(curl(f"http://one.test:{UPGRADING}/", "--http2").stderr, "2 200")
            flows = osproxy.wait_for_flows(3, type="http")[1:]
            self.assertEqual([(f["status"], f["http_version"], f["error"]) for f in flows], [(101, "1.1", None), (200, "2", None)])

    def test_upgrade_by_java(self):
        """Its HTTP2-Settings allow a compression table of 16 KiB, which nghttpx makes use of from its first answer on."""
        with Osproxy(world, "java") as osproxy:
            said = world.run("java", "-XX:TieredStopAtLevel=1", f"{TOP}/tests/e2e/matrix/Client.java", f"{world.dir}/ca.pem",
                             input=f"id=1\tversion=h2\tmethod=GET\turl=http://192.0.2.2:{UPGRADING}/java").stdout
            self.assertIn("\tstatus=200\tversion=HTTP_2\t", said)
            flows = osproxy.wait_for_flows(2, type="http")
            self.assertEqual([(f["status"], f["http_version"], f["error"]) for f in flows], [(101, "1.1", None), (200, "2", None)])
            self.assertIn("http2-settings", [name.lower() for name, _ in flows[0]["request_headers"]])

    def test_quic_is_not_told_of(self):
        told = ["alt-svc", 'h3=":443"; ma=86400']
        at = f"https://one.test:{NGINX_PORT}/quic"
        for quic in ("block", "allow"):
            with self.subTest(quic), Osproxy(world, "curl", "--quic", quic) as osproxy:
                heads = curl(at, at, "-D", "-", trust="osproxy").stdout
                self.assertEqual(heads.count("HTTP/2 200"), 2)
                self.assertEqual(heads.count(": ".join(told)), 2 if quic == "allow" else 0, heads)
                self.assertEqual(heads.count("alt-"), 2, heads)
                self.assertEqual([told in f["response_headers"] for f in osproxy.wait_for_flows(2, type="http")], [True] * 2)

    def test_status_codes_methods_and_redirects(self):
        with Osproxy(world, "curl") as osproxy:
            at = f"https://one.test:{NGINX_PORT}"
            for number, words, said in ((1, ["/nothing"], "2 204"), (2, ["/", "-I"], "2 200"), (4, ["/moved", "-L"], "2 200"), (5, ["/files/none"], "2 404")):
                self.assertEqual(curl(at + words[0], *words[1:], trust="osproxy").stderr, said)
                flows = osproxy.wait_for_flows(number, type="http")
            self.assertEqual([(f["method"], f["status"]) for f in flows], [("GET", 204), ("HEAD", 200), ("GET", 302), ("GET", 200), ("GET", 404)])
            self.assertEqual([f["error"] for f in flows], [None] * 5)

    def test_large_bodies_both_ways(self):
        size = (8 if ASAN else 200) << 20
        path = world.file("large", size)
        into, unhurried = f"{world.dir}/got", ["-m", str(PATIENCE * 4)]
        with Osproxy(world, "curl") as osproxy:
            for port in (TLS, NGINX_PORT):
                curl(f"https://one.test:{port}/" + "files/large", "-o", into, *unhurried, trust="osproxy")
                run("cmp", path, into)
            self.assertEqual({f["response_bytes"] for f in osproxy.wait_for_flows(2, type="http")}, {size})
            answer = curl(f"{AT}/small", "--data-binary", f"@{path}", "-H", "Content-Type: application/octet-stream", *unhurried, trust="osproxy")
            self.assertEqual(answer.stderr, "2 200")
            self.assertEqual(osproxy.wait_for_flows(3, type="http")[2]["request_bytes"], size)

    def test_many_streams_on_many_connections(self):
        count = 1000 if ASAN else 20000
        with Osproxy(world, "h2load") as osproxy:
            said = world.run("h2load", f"-n{count}", "-c8", "-m32", f"https://192.0.2.2:{NGINX_PORT}/x").stdout
            self.assertIn(f"{count} succeeded, 0 failed, 0 errored", said)
            flows = osproxy.wait_for_flows(count, type="http")
            self.assertEqual({(f["http_version"], f["status"], f["error"]) for f in flows}, {("2", 200, None)})
            self.assertEqual(len({f["conn"] for f in flows}), 8)

    def test_pushes_are_flows(self):
        with Osproxy(world, "nghttp") as osproxy:
            said = world.run("nghttp", "-v", "--no-verify-peer", f"https://192.0.2.2:{TLS}/small").stdout
            self.assertIn("PUSH_PROMISE", said)
            self.assertEqual(sorted(f["url"].rsplit("/", 1)[1] for f in osproxy.wait_for_flows(2, type="http")), ["pushed", "small"])

    def test_a_program_that_gives_up(self):
        world.file("slow", 64 << 20)
        with Osproxy(world, "curl") as osproxy:
            words = world.curl_command(f"{AT}/files/slow", "--resolve", f"one.test:{TLS}:192.0.2.2", "--limit-rate", "1M", trust="osproxy")
            said = world.run("bash", "-c", '"$@" | head -c 200000 | wc -c; echo ${PIPESTATUS[0]}', "-", *words).stdout.split()
            self.assertEqual(said, ["200000", "23"])  # CURLE_WRITE_ERROR
            self.assertNotEqual(osproxy.wait_for_flow(type="http")["error"], None)

    def test_text(self):
        path = f"{world.dir}/h2.txt"
        with Osproxy(world, "curl", "-d2", "--output", path, jsonl=False):
            curl(f"{AT}/small", trust="osproxy")
            wait_for(lambda: "x-check" in open(path).read(), "the flow")
        text = open(path).read()
        self.assertRegex(text, rf"(?m)^(\d\d:){{2}}\d\d curl\[\d+\] GET {AT}/small → 200 ")
        self.assertIn("HTTP/2", text)
        self.assertIn("< x-check: 42", text)


if __name__ == "__main__":
    main()
