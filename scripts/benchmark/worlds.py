"""The two hosts of the end-to-end tests, with servers that keep up: an nginx of two workers and a WebSocket echo server."""
import os

from harness import TOP, V4, World, run, wait_for

BUILD = os.path.join(TOP, "build/release")
WEBSOCKET = os.path.join(BUILD, "tests/bench/websocket_bench")
HOST, ECHO_HOST = "one.test", "two.test"
ORIGIN, ECHO = V4

BODY_BYTES = 1000

NGINX = """
worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/nginx.err crit; worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300; sendfile on; tcp_nopush on;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  ssl_session_cache shared:s:10m;
  server {{
    listen ORIGIN:80 backlog=4096; listen ORIGIN:443 ssl http2 backlog=4096;
    ssl_certificate {dir}/origin.pem; ssl_certificate_key {dir}/origin.key;
    location / {{ default_type text/plain; return 200 "BODY"; }}
    location /files/ {{ root {dir}/www; }}
  }}
}}
""".replace("ORIGIN", ORIGIN).replace("BODY", "x" * BODY_BYTES)


class BenchWorld(World):
    def __init__(self, bulk_mib=512):
        super().__init__(NGINX)
        self.nginx = self.processes[0]
        self.bulk_bytes = bulk_mib << 20
        # Peers that drop their privileges sign with this key.
        os.chmod(f"{self.dir}/ca.key", 0o644)
        self.file("bulk", self.bulk_bytes)
        for name in (self.client, self.origin):
            self.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", where=name)
            self.run("sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", where=name, check=False)
        self.echo = self.spawn([WEBSOCKET, "serve", ECHO, "443", f"{self.dir}/origin.pem", f"{self.dir}/origin.key"], where=self.origin)
        wait_for(self._echo_listens, "the WebSocket server")

    def _echo_listens(self):
        return ECHO in self.run("ss", "-Hltn", "sport = 443", where=self.origin).stdout

    def servers(self):
        return [self.nginx.pid, self.echo.pid]

    def forget_connections(self):
        """What an earlier peer left in conntrack would let a connection with the same ports slip by the next one's redirect."""
        self.run("conntrack", "-F", check=False)

    def answers(self):
        """Whether an HTTPS request is answered, by the origin or by a proxy whose certificate may be any."""
        return self.curl(f"https://{HOST}/", "-k", "-m", "5", "-o", "/dev/null", check=False).returncode == 0

    def apply_rules(self, rules):
        run(*self.inside(["nft", "-f", "-"]), input=rules)
