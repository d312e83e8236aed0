"""The proxies that are measured. Each is started for one measurement and stopped after it.

All intercept: osproxy by its own rules, the others by a redirect of ports 80 and 443 that leaves out the user nobody, as whom they run.
"""
import json
import os
import re
import shutil
import subprocess

import harness
from harness import HOSTS, run, start_squid, wait_for

from .worlds import ECHO, ECHO_HOST, ORIGIN

CLIENTS = "ab,curl,h2load,python,websocket_bench,wrk"

SQUID = """
http_port 127.0.0.1:3128
http_port 127.0.0.1:3129 intercept
https_port 127.0.0.1:3130 intercept ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert={dir}/ca.pem tls-key={dir}/ca.key
sslcrtd_program /usr/lib/squid/security_file_certgen -s {dir}/squid-certificates -M 16MB
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
tls_outgoing_options cafile={dir}/ca.pem
sslproxy_cert_error allow all
http_access allow all
cache_mem 8 MB
max_filedescriptors 16384
http_upgrade_request_protocols websocket allow all
client_persistent_connections on
server_persistent_connections on
hosts_file {dir}/hosts
dns_nameservers 127.0.0.1
"""

HAPROXY = """
global
  user nobody
defaults
  mode http
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  timeout tunnel 300s
frontend http
  bind 127.0.0.1:3280
  default_backend http
frontend https
  bind 127.0.0.1:3243 ssl crt {dir}/haproxy.pem alpn h2,http/1.1
  use_backend echo if {{ hdr(host) -m beg {echo_host} }}
  use_backend http2 if {{ ssl_fc_alpn h2 }}
  default_backend https
backend http
  server origin {origin}:80
backend https
  server origin {origin}:443 ssl verify required ca-file {dir}/ca.pem
backend http2
  server origin {origin}:443 ssl verify required ca-file {dir}/ca.pem alpn h2
backend echo
  server echo {echo}:443 ssl verify required ca-file {dir}/ca.pem
"""

REDIRECT = """
table ip peer {{
  chain output {{
    type nat hook output priority -100; policy accept;
    meta skuid 65534 return
    tcp dport 80 counter redirect to :{http}
    tcp dport 443 counter redirect to :{https}
  }}
}}
"""


class Peer:
    """No proxy at all; the others derive from it. Use as a context: it runs inside."""
    name = "direct"
    program = None  # what has to be installed

    def __init__(self, world):
        self.world = world
        self.process = None

    def __enter__(self):
        self.world.forget_connections()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @classmethod
    def is_installed(cls):
        return cls.program is None or shutil.which(cls.program) is not None

    def start(self):
        pass

    def stop(self):
        pass

    def has_seen_it(self):
        """Whether connections went through it, as far as it can be told."""
        return True

    def roots(self):
        """The processes at the head of its trees."""
        return [self.process.pid] if self.process else []


class Osproxy(Peer):
    name = "osproxy"
    rules = None  # that change messages

    def start(self):
        options = []
        if self.rules:
            path = f"{self.world.dir}/rules.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"rules": self.rules}, file)
            options = ["--config", path]
        self.osproxy = harness.Osproxy(self.world, CLIENTS, *options)
        self.osproxy.start()
        self.process = self.osproxy.process

    def stop(self):
        if self.process is not None:
            self.osproxy.__exit__(None, None, None)
        if os.path.exists(self.osproxy.flows_path):
            os.remove(self.osproxy.flows_path)

    def has_seen_it(self):
        """A flow is written when it ends, which may be after its client has ended."""
        try:
            self.osproxy.wait_for_flow(decision="intercept")
        except AssertionError:
            return False
        return True


class OsproxyAsked(Osproxy):
    """A rule is asked about both heads of each exchange, and finds nothing to change."""
    name = "osproxy-asked"
    rules = [{"name": "looks", "remove_header": "x-nothing-has-it"}]


class OsproxyEditing(Osproxy):
    """A rule changes both heads of each exchange."""
    name = "osproxy-editing"
    rules = [{"name": "adds", "set_header": {"x-added": "1"}}]


class Redirected(Peer):
    """A proxy of others'; `ports` are where connections to 80 and 443 are led."""
    ports = None

    def start(self):
        self.process = self.spawn()
        http, https = self.ports
        self.world.apply_rules(REDIRECT.format(http=http, https=https))
        wait_for(self.is_ready, f"{self.name}'s first answer")

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}; OSPROXY_KEEP=1 keeps its logs")
        return self.world.answers()

    def spawn(self):
        """Starts the proxy in the client's namespace."""
        raise NotImplementedError

    def stop(self):
        self.world.run("nft", "delete", "table", "ip", "peer", check=False)
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def redirected(self):
        """Connections that were led to it so far."""
        rules = self.world.run("nft", "list", "table", "ip", "peer").stdout
        return sum(map(int, re.findall(r"counter packets (\d+)", rules)))

    def has_seen_it(self):
        return self.redirected() > 0


class Haproxy(Redirected):
    """TLS on both sides with the origin's own certificate: it mints nothing and records nothing. Towards the origin it speaks the client's
    version of HTTP, and opens a connection for each of the client's (http-reuse is left at its default, safe)."""
    name = "haproxy"
    program = "haproxy"
    ports = (3280, 3243)

    def spawn(self):
        d = self.world.dir
        with open(f"{d}/haproxy.pem", "w") as out:
            for part in ("origin.pem", "origin.key"):
                with open(f"{d}/{part}") as file:
                    out.write(file.read())
        with open(f"{d}/haproxy.cfg", "w") as file:
            file.write(HAPROXY.format(dir=d, origin=ORIGIN, echo=ECHO, echo_host=ECHO_HOST))
        return self.world.spawn(["haproxy", "-db", "-f", f"{d}/haproxy.cfg"])


class Squid(Redirected):
    name = "squid"
    program = "squid"
    ports = (3129, 3130)

    def spawn(self):
        d = self.world.dir
        if not os.path.exists(f"{d}/squid-certificates"):
            run("/usr/lib/squid/security_file_certgen", "-c", "-s", f"{d}/squid-certificates", "-M", "16MB")
            run("chown", "-R", "nobody", f"{d}/squid-certificates")
            with open(f"{d}/hosts", "w") as file:
                file.writelines(f"{v4} {host}\n" for host, (v4, _) in HOSTS.items())
        return start_squid(self.world, SQUID.format(dir=d), where=self.world.client)


class Sslsplit(Redirected):
    name = "sslsplit"
    program = "sslsplit"
    ports = (3180, 3143)

    def spawn(self):
        d = self.world.dir
        os.makedirs(f"{d}/sslsplit", exist_ok=True)
        os.chmod(f"{d}/sslsplit", 0o777)
        return self.world.spawn(["sslsplit", "-u", "nobody", "-k", f"{d}/ca.key", "-c", f"{d}/ca.pem", "-l", f"{d}/sslsplit/connect.log",
                                 "https", "127.0.0.1", "3143", "netfilter", "http", "127.0.0.1", "3180", "netfilter"])


class Mitmdump(Redirected):
    name = "mitmdump"
    program = "mitmdump"
    ports = (3188, 3188)

    def spawn(self):
        d = self.world.dir
        os.makedirs(f"{d}/mitm", exist_ok=True)
        os.chmod(f"{d}/mitm", 0o777)
        return self.world.spawn(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "mitmdump", "--mode", "transparent",
                                 "--listen-host", "127.0.0.1", "-p", "3188", "--ssl-insecure", "-q", "-w", f"{d}/mitm/flows", "--set",
                                 f"confdir={d}/mitm"], env={**os.environ, "HOME": f"{d}/mitm"})


PEERS = {kind.name: kind for kind in (Peer, Osproxy, OsproxyAsked, OsproxyEditing, Haproxy, Squid, Sslsplit, Mitmdump)}
