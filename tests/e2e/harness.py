"""Two hosts on one machine, made of network namespaces, and osproxy running on one of them.

World: namespaces `client` (osproxy and the programs) and `origin` (real servers), a veth pair with IPv4 and IPv6 between them, a
throw-away CA, nginx. Osproxy: the real program, started, waited for, stopped, and looked after: no rule and no process stays.
"""
import atexit
import ctypes
import json
import os
import pty
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OSPROXY = os.environ.get("OSPROXY", os.path.join(TOP, "build/release/osproxy"))
# Which engine to test; unset: the one that osproxy chooses (packet, wherever the kernel can hold packets).
ENGINE = os.environ.get("OSPROXY_E2E_ENGINE")
ASAN = os.environ.get("OSPROXY_E2E_ASAN") == "1"
# ASan is slow, and so may the machine be: how long to wait for what must happen.
PATIENCE = 60 if ASAN else 30

V4 = ["192.0.2.2", "192.0.2.3"]
V6 = ["2001:db8::2", "2001:db8::3"]
CLIENT_V4, CLIENT_V6 = "192.0.2.1", "2001:db8::1"
HOSTS = {"one.test": (V4[0], V6[0]), "two.test": (V4[1], V6[1])}

NGINX = """
pid {dir}/nginx.pid; error_log {dir}/nginx.err; worker_processes 1; worker_rlimit_nofile 15000;
events {{ worker_connections 12000; }}
http {{
  log_format own '$remote_addr:$remote_port $host "$request" $status $connection $connection_requests';
  access_log {dir}/access.log own;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  client_max_body_size 0; keepalive_requests 100000; default_type text/plain;
  server {{
    listen 80 backlog=4096; listen [::]:80 backlog=4096; listen 443 ssl backlog=4096; listen [::]:443 ssl backlog=4096;
    listen 8443 ssl; listen 9443 ssl; listen 9080;
    ssl_certificate {dir}/origin.pem; ssl_certificate_key {dir}/origin.key; ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;
    ssl_ciphers ALL:@SECLEVEL=0;
    location / {{ return 200 "hello from $host\\n"; }}
    location /files/ {{ root {dir}/www; }}
    location /upload {{ proxy_pass http://127.0.0.1:9999; proxy_request_buffering off; }}
    location /nothing {{ return 204; }}
    location /moved {{ return 302 /; }}
  }}
}}
"""

# conntrack -F without the program of that name.
FLUSH_CONNTRACK = """
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 0x5, 1, 0, 0, 0, 0))
assert struct.unpack("=i", s.recv(4096)[16:20])[0] == 0
"""


def run(*command, check=True, **options):
    """subprocess.run with captured text; a failure shows what the command said."""
    options.setdefault("timeout", PATIENCE * 4)
    result = subprocess.run(command, text=True, capture_output=True, **options)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def tshark(path, *fields, show):
    """The values of `fields` of each packet that the display filter `show` selects: what Wireshark says without a hint."""
    words = [word for field in fields for word in ("-e", field)]
    lines = run("tshark", "-n", "-r", path, "-Y", show, "-T", "fields", *words).stdout.splitlines()
    return [line.split("\t") for line in lines]


def wait_for(condition, what, seconds=PATIENCE):
    """Polls until `condition` is true; its last value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def wait_briefly(condition, what, seconds):
    """For what has to happen soon: polls that would take `seconds` where nothing else runs. A machine that is slow polls slowly as well."""
    for _ in range(int(seconds / 0.03)):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within what should be {seconds} s")


def enter_own_mounts():
    """Gives this process a mount namespace with a /run/osproxy of its own, so that modules may run side by side: osproxy keeps a journal of
    each run there, and a start removes what dead runs have left. The network namespaces that are made from now on are only seen here."""
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18

    def must(result, what):
        if result != 0:
            raise OSError(ctypes.get_errno(), what)
    os.makedirs("/run/osproxy", mode=0o700, exist_ok=True)
    must(libc.unshare(CLONE_NEWNS), "unshare")
    must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    must(libc.mount(b"none", b"/run/osproxy", b"tmpfs", 0, b"mode=0700"), "mount /run/osproxy")


class World:
    """Made once per test module (setUpModule), taken down at exit whatever happens. `nginx` is its configuration; false: no nginx."""

    is_first = True

    def __init__(self, nginx=NGINX):
        if World.is_first:
            World.is_first = False
            enter_own_mounts()
        self.dir = tempfile.mkdtemp(prefix="osproxy-e2e-")
        os.chmod(self.dir, 0o755)
        self.client = f"oe-c-{os.getpid()}"
        self.origin = f"oe-o-{os.getpid()}"
        self.processes = []
        atexit.register(self.close)
        self._network()
        self._certificates()
        self.ca_dir = f"{self.dir}/ca"
        if nginx:
            with open(f"{self.dir}/nginx.conf", "w") as file:
                file.write(nginx.format(dir=self.dir))
            os.makedirs(f"{self.dir}/www/files")
            self.spawn(["nginx", "-c", f"{self.dir}/nginx.conf", "-g", "daemon off;"], where=self.origin)
            wait_for(lambda: self.curl("http://one.test/", check=False).returncode == 0, "nginx")

    def _network(self):
        for name in (self.client, self.origin):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.client, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", self.origin)
        for name, addresses in ((self.client, [CLIENT_V4 + "/24", CLIENT_V6 + "/64"]),
                                (self.origin, [a + "/24" for a in V4] + [a + "/64" for a in V6])):
            for address in addresses:
                extra = ["nodad"] if ":" in address else []
                run("ip", "-n", name, "addr", "add", address, "dev", "v0", *extra)
            run("ip", "-n", name, "link", "set", "v0", "up")

    def _certificates(self):
        d = self.dir
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("openssl", "req", "-x509", *ec, "-days", "5", "-subj", "/CN=e2e CA", "-addext", "keyUsage=critical,keyCertSign", "-keyout",
            f"{d}/ca.key", "-out", f"{d}/ca.pem")
        run("openssl", "req", *ec, "-subj", "/CN=one.test", "-keyout", f"{d}/origin.key", "-out", f"{d}/origin.csr")
        names = ",".join([f"DNS:{h}" for h in HOSTS] + [f"IP:{a}" for a in V4 + V6])
        with open(f"{d}/san", "w") as file:
            file.write(f"subjectAltName={names}\n")
        run("openssl", "x509", "-req", "-in", f"{d}/origin.csr", "-CA", f"{d}/ca.pem", "-CAkey", f"{d}/ca.key", "-CAcreateserial",
            "-days", "5", "-extfile", f"{d}/san", "-out", f"{d}/origin.pem")

    def inside(self, command, where=None):
        """`command` in a namespace. nsenter, because `ip netns exec` hides /sys and the cgroups with it."""
        return ["nsenter", f"--net=/run/netns/{where or self.client}", *command]

    def run(self, *command, where=None, **options):
        return run(*self.inside(command, where), **options)

    def spawn(self, command, where=None, **options):
        """A process in a namespace, ended by close() if it still runs then."""
        options.setdefault("stdin", subprocess.DEVNULL)
        for stream in ("stdout", "stderr"):
            options.setdefault(stream, open(f"{self.dir}/{len(self.processes)}.{stream}", "w"))
        process = subprocess.Popen(self.inside(command, where), **options)
        self.processes.append(process)
        return process

    def python(self, script, *arguments, where=None, **options):
        """A Python program of the tests' own; sys.argv[1:] are `arguments`."""
        return self.spawn(["/usr/bin/python3", "-c", script, *map(str, arguments)], where=where, **options)

    def curl(self, url, *more, family=4, trust="both", check=True, **options):
        return self.run(*self.curl_command(url, *more, family=family, trust=trust), check=check, **options)

    def curl_command(self, url, *more, family=4, trust="both"):
        """`trust`: whose certificates curl accepts: "origin", "osproxy" or "both"."""
        resolve = []
        for host, addresses in HOSTS.items():
            for port in (80, 443, 8443, 9443, 9080):
                address = addresses[0] if family == 4 else f"[{addresses[1]}]"
                resolve += ["--resolve", f"{host}:{port}:{address}"]
        return ["curl", "-sS", "-m", str(PATIENCE), "--cacert", self.trusting(trust), *resolve, *more, url]

    def trusting(self, trust):
        path = f"{self.dir}/trust-{trust}.pem"
        wanted = {"origin": [f"{self.dir}/ca.pem"], "osproxy": [f"{self.ca_dir}/root-ca.pem"]}
        wanted["both"] = wanted["origin"] + wanted["osproxy"]
        text = "".join(open(file).read() for file in wanted[trust] if os.path.exists(file))
        with open(path, "w") as file:
            file.write(text)
        return path

    def access_log(self):
        with open(f"{self.dir}/access.log") as file:
            return file.read().splitlines()

    def tables(self):
        return self.run("nft", "list", "tables").stdout

    def file(self, name, size):
        """A file of random bytes that nginx serves as /files/NAME; returns its path."""
        path = f"{self.dir}/www/files/{name}"
        with open("/dev/urandom", "rb") as source, open(path, "wb") as out:
            while size > 0:
                size -= out.write(source.read(min(size, 1 << 20)))
        return path

    def close(self):
        atexit.unregister(self.close)
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in (self.client, self.origin):
            run("ip", "netns", "del", name, check=False)
        if os.environ.get("OSPROXY_KEEP"):
            print(f"logs and certificates are in {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


# What every squid gets; it runs as nobody.
SQUID = """
cache deny all
access_log stdio:{dir}/squid/access.log
cache_log {dir}/squid/cache.log
pid_filename {dir}/squid/squid.pid
coredump_dir {dir}/squid
cache_effective_user nobody
visible_hostname e2e
shutdown_lifetime 1 seconds
"""


def start_squid(world, config, where=None):
    """At the origin's side, unless `where` is another namespace."""
    os.makedirs(f"{world.dir}/squid", exist_ok=True)
    os.chmod(f"{world.dir}/squid", 0o777)
    with open(f"{world.dir}/squid.conf", "w") as file:
        file.write(config + SQUID.format(dir=world.dir))
    return world.spawn(["squid", "-N", "-f", f"{world.dir}/squid.conf"], where=where or world.origin)


def children_of(pid):
    """Direct children: of osproxy's broker these are worker, guard and CMD."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def tree_of(pid):
    """The process and all its descendants."""
    found = [pid]
    for process in found:
        found += children_of(process)
    return found


def status_of(pid):
    """The fields of /proc/PID/status."""
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def resume(pid):
    """For the cleanup of tests that stop processes: none stays that nothing can end but SIGKILL."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


class Osproxy:
    """A run of osproxy in the client's namespace. Use as a context: at its end it is stopped by SIGINT and everything is checked."""

    def __init__(self, world, *arguments, command="run", environment=None, upstream_ca=True, jsonl=True, check=True):
        self.world = world
        self.number = len(world.processes)
        self.flows_path = f"{world.dir}/flows-{self.number}.jsonl"
        self.stderr_path = f"{world.dir}/osproxy-{self.number}.stderr"
        self.check = check
        words = [OSPROXY, command, "--ca-dir", world.ca_dir]
        if command == "run":
            # The tests' programs are given the CA by hand, and many start after osproxy.
            words += ["--allow-untrusted", "--wait-for"]
        if upstream_ca:
            words += ["--upstream-ca", f"{world.dir}/ca.pem"]
        if ENGINE and "--engine" not in arguments:
            words += ["--engine", ENGINE]
        if jsonl:
            words += ["--format", "jsonl", "--output", self.flows_path]
        self.command = words + list(arguments)
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        Osproxy.latest = self
        self.recorded, self.read_until = [], 0  # the flows of the whole lines of flows_path

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("osproxy did not end after SIGINT\n" + self.stderr())
        if kind is None and self.check:
            assert code == 0, f"osproxy ended with {code}\n{self.stderr()}"
            assert "osproxy" not in self.world.tables(), "rules are left behind"
            assert "Sanitizer" not in self.stderr() and "runtime error" not in self.stderr(), self.stderr()

    def start(self, case=None):
        """For tests that do not use it as a context: `case` ends it when the test has ended, however it ended."""
        if case is not None:
            case.addCleanup(self.end)
        self.process = self.world.spawn(self.command, stderr=open(self.stderr_path, "w"), env=self.environment)
        wait_for(self.is_ready, "osproxy's first line: " + " ".join(self.command))

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            wait_for(lambda: "osproxy" not in self.world.tables(), "the rules' end")

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"osproxy ended with {self.process.returncode} at its start\n{self.stderr()}")
        return "osproxy: capturing " in self.stderr()

    def stderr(self):
        with open(self.stderr_path, errors="replace") as file:
            return file.read()

    def broker(self):
        return self.process.pid

    def worker(self):
        """The child that has our loopback listeners' group: the one that is not root, or has the exempt gid."""
        return next(pid for pid in children_of(self.broker()) if status_of(pid)["Gid"].split()[1] != "0")

    def guard(self):
        """It is one as soon as it leads a session of its own."""
        def find():
            return [pid for pid in children_of(self.broker()) if os.getsid(pid) == pid]
        wait_for(find, "the guard")
        return find()[0]

    def read_flows(self):
        """What was written since the last time: a file of many thousand flows is not read again at each poll."""
        try:
            with open(self.flows_path, "rb") as file:
                file.seek(self.read_until)
                text = file.read()
        except FileNotFoundError:
            return
        text = text[:text.rfind(b"\n") + 1]
        self.read_until += len(text)
        self.recorded += map(json.loads, text.splitlines())

    def flows(self, **wanted):
        """Flows recorded so far whose keys have the wanted values; process_name is the process's name."""
        self.read_flows()
        found = []
        for flow in self.recorded:
            name = (flow["process"] or {}).get("name")
            if all((name if key == "process_name" else flow.get(key)) == value for key, value in wanted.items()):
                found.append(flow)
        return found

    def wait_for_flows(self, count=1, **wanted):
        wanted.setdefault("event", "end")

        def find():
            found = self.flows(**wanted)
            return found if len(found) >= count else None
        try:
            return wait_for(find, f"{count} flow(s) {wanted} in {self.flows_path}")
        except AssertionError as error:
            raise AssertionError(f"{error}\nflows: {self.flows()[-5:]}\nosproxy said:\n{self.stderr()}") from None

    def wait_for_flow(self, **wanted):
        return self.wait_for_flows(1, **wanted)[0]


class TemporaryUser:
    """A user of this machine for the tests of sudo; `environment` is what sudo sets."""

    def __init__(self):
        self.name = f"oe{os.getpid()}"

    def __enter__(self):
        # Without a range of subordinate ids: what is left of tests that were killed would take numbers away from others.
        run("useradd", "--create-home", "--shell", "/bin/bash", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0", self.name)
        entry = pwd.getpwnam(self.name)
        self.uid, self.gid, self.home = entry.pw_uid, entry.pw_gid, entry.pw_dir
        self.environment = {"SUDO_UID": str(self.uid), "SUDO_GID": str(self.gid), "SUDO_USER": self.name}
        return self

    def __exit__(self, *_):
        run("userdel", "--remove", self.name, check=False)


class Terminal:
    """A program on a terminal of its own, where it leads the session."""

    def __init__(self, words, environment=None):
        self.words, self.environment = words, {**os.environ, **(environment or {})}
        self.seen = b""
        self.status = None

    def __enter__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(self.words[0], self.words, self.environment)
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self.fd)

    def read_until(self, text):
        self.read_until_all(text)

    def read_until_all(self, *texts):
        """In whatever order they come."""
        end = time.monotonic() + PATIENCE
        while not all(text in self.seen for text in texts):
            readable, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert readable, f"{texts} did not appear: {self.seen}"
            self.seen += os.read(self.fd, 4096)
        self.seen = self.seen[max(self.seen.index(text) + len(text) for text in texts):]

    def write(self, data):
        os.write(self.fd, data)

    def wait(self):
        """Its exit status; what it still writes is read off meanwhile."""
        def ended():
            try:
                while select.select([self.fd], [], [], 0)[0]:
                    self.seen += os.read(self.fd, 4096)
            except OSError:
                pass  # nobody has the terminal open
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
            return pid
        wait_for(ended, f"the end of {self.words}")
        return os.waitstatus_to_exitcode(self.status)


def main():
    if os.geteuid() != 0:
        sys.exit("the end-to-end tests need root for network namespaces; try: sudo scripts/test")
    unittest.main(module="__main__", verbosity=2)
