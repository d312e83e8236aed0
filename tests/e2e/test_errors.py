"""Every failure says what failed, on what and what to do, with the right exit code, and nothing starts."""
import errno
import os
import signal
import subprocess
import unittest

from harness import OSPROXY, PATIENCE, V4, Osproxy, World, main, run, wait_for

world = None

# Runs sys.argv[1:] where socket(AF_NETLINK, ..., NETLINK_NETFILTER) fails with EPROTONOSUPPORT (seccomp(2), x86-64 and arm64).
WITHOUT_NETFILTER = """
import ctypes, errno, os, platform, struct, sys
LOAD, EQUAL, ANSWER = 0x20, 0x15, 0x06
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
program = [(LOAD, 0, 0, 0), (EQUAL, 0, 5, number), (LOAD, 0, 0, 16), (EQUAL, 0, 3, 16), (LOAD, 0, 0, 32), (EQUAL, 0, 1, 12),
           (ANSWER, 0, 0, 0x00050000 | errno.EPROTONOSUPPORT), (ANSWER, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
class Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(22, 2, ctypes.byref(Program(len(program), ctypes.addressof(code))), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"""


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


class Errors(unittest.TestCase):
    def tearDown(self):
        self.assertEqual(world.tables(), "")

    def check(self, words, code, text, before=(), **options):
        """The last line on standard error is exactly `text`."""
        if words[0] == "run":
            words = ["run", "--allow-untrusted", *words[1:]]
        result = world.run(*before, OSPROXY, *words, check=False, **options)
        self.assertEqual(result.stderr.splitlines()[-1:], [text], result)
        self.assertEqual(result.returncode, code)

    def test_usage(self):
        cases = [
            (["--fromat", "text"], "osproxy: unknown option --fromat; did you mean --format? See osproxy run --help"),
            (["curl", "https://example.org/"], "osproxy: run takes one FILTER, found 2 words; to run a command and intercept it: osproxy exec -- curl https://example.org/"),
            (["exec"], "osproxy: exec needs a command: osproxy exec -- CMD [ARG ...]"),
            (["--ports", "0", "curl"], "osproxy: --ports: '0' is not a port or a range of ports; expected for example 443 or 8000-8100"),
            (["--exclude", "10.0.0.1/8", "curl"], "osproxy: --exclude: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"),
            (["--format", "xml"], "osproxy: --format: expected text|jsonl, found 'xml'"),
            (["--detail", "9"], "osproxy: --detail: expected a number from 0 to 4, found 9"),
            (["--wait", "curl"], "osproxy: --wait does not go with 'run'; it goes with: exec"),
            (["ca"], "osproxy: ca needs a word: one of create, show, export, install, uninstall, status"),
            (["--mode", "transparent"], "osproxy: --mode: expected osproxy, osproxy:FILTER, local or local:FILTER, found 'transparent'"),
        ]
        for words, text in cases:
            with self.subTest(words):
                self.check(words, 2, text)

    def test_what_the_system_refuses_is_no_usage_error(self):
        """EINVAL is what the kernel says to whoever reads some of its devices."""
        def refuses(path):
            try:
                with open(path, "rb", buffering=0) as file:
                    file.read(1)
            except OSError as error:
                return error.errno == errno.EINVAL
        path = next(filter(refuses, ("/dev/loop-control", "/dev/btrfs-control", "/dev/kvm", "/proc/self/attr/current")), None)
        if path is None:
            self.skipTest("no such device")
        self.check(["run", "curl", "--config", path], 1, f"osproxy: --config: cannot read {path}: Invalid argument")

    def test_bad_filter_is_a_usage_error(self):
        result = world.run(OSPROXY, "run", "curl,,wget", check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("item 2", result.stderr)

    def test_without_root(self):
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        cases = [
            (["curl"], "osproxy: run needs root to load packet-filter rules; try: sudo osproxy curl"),
            (["!curl", "-d", "2"], "osproxy: run needs root to load packet-filter rules; try: sudo osproxy '!curl' -d 2"),
            (["exec", "--", "curl", "x y"], "osproxy: exec needs root to load packet-filter rules; try: sudo osproxy exec -- curl 'x y'"),
            (["cleanup"], "osproxy: cleanup needs root to remove packet-filter rules; try: sudo osproxy cleanup"),
            (["ca", "install"], "osproxy: ca needs root to change the trust stores; try: sudo osproxy ca install"),
            (["ca", "create"], "osproxy: ca needs root to keep the key of the CA; try: sudo osproxy ca create"),
        ]
        for words, text in cases:
            with self.subTest(words):
                self.check(words, 1, text, before=nobody)
        self.assertEqual(world.run(*nobody, OSPROXY, "rules").returncode, 0)

    def config(self, text):
        path = f"{world.dir}/config.json"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_configuration(self):
        cases = [
            ('{\n "formt": "text"\n}', "2: formt: unknown key; did you mean format?"),
            ('{\n\n "detail": "2"\n}', '3: detail: expected a whole number, found "2"'),
            ('{"exclude": ["10.0.0.0/33"]}', "1: exclude: '10.0.0.0/33' is not a network; expected for example 10.0.0.0/8, fe80::/10 or 192.0.2.1"),
            ('{"format": "xml"}', "1: format: expected text|jsonl, found 'xml'"),
            ('{"ports": "80",\n"ports": "81"}', "2: duplicate key 'ports'"),
            ('[]', "1: expected an object of options, found []"),
            ('{"rules": [{"process": "~(", "action": "pass"}]}', "1: rules[0].process: filter '~(': item 1 ('~(') is not a regular expression: missing ): ("),
            ('{"rules": [{"action": "pass"}, {"action": "drop"}]}', "1: rules[1].action: expected intercept, pass or block, found \"drop\""),
            ('{\n"detail": 2,\n}', "3: syntax error while parsing object key - unexpected '}'; expected string literal"),
        ]
        for text, problem in cases:
            with self.subTest(text):
                path = self.config(text)
                self.check(["run", "curl", "--config", path], 1, f"osproxy: {path}:{problem}")

    def test_missing_files(self):
        self.check(["run", "--config", "/no/such.json"], 1, "osproxy: --config: cannot read /no/such.json: No such file or directory")
        self.check(["run", "--upstream-ca", "/no/ca.pem"], 1, "osproxy: --upstream-ca: cannot read /no/ca.pem: No such file or directory")
        self.check(["run", "--output", "/no/flows"], 1, "osproxy: --output: cannot open /no/flows: No such file or directory")
        path = f"{world.dir}/both"
        self.check(["run", "--pcap", path, "-o", path], 1, f"osproxy: --pcap and --output are one file: {path}; name two")
        self.check(["run", "--pcap", "/no/p"], 1, "osproxy: --pcap: cannot open /no/p: No such file or directory")

    def test_foreign_text_does_not_drive_the_terminal(self):
        path = "/no/\u202egnp.\x1b[2J\u200b"
        self.check(["run", "--config", path], 1, "osproxy: --config: cannot read /no/\\u202egnp.\\x1b[2J\\u200b: No such file or directory")
        self.check(["run", "--pcap", path], 1, "osproxy: --pcap: cannot open /no/\\u202egnp.\\x1b[2J\\u200b: No such file or directory")

    def test_damaged_upstream_ca(self):
        path = f"{world.dir}/damaged.pem"
        with open(path, "w") as file:
            file.write("no certificate\n")
        self.check(["run", "--ca-dir", world.ca_dir, "--upstream-ca", path], 1, f"osproxy: --upstream-ca: there is no certificate in PEM form in {path}")

    def test_taken_port(self):
        taken = world.python("import socket; s = socket.create_server(('127.0.0.1', 28600)); print(1, flush=True); input()", stdin=-1, stdout=-1)
        taken.stdout.readline()
        self.check(["run", "curl", "--ca-dir", world.ca_dir, "--listen-port", "28600"], 1,
                   "osproxy: port 28600 on 127.0.0.1 is taken; name another one with --listen-port")
        taken.kill()

    def test_no_free_port(self):
        """One ephemeral port, and somebody has it and the usual one."""
        range_before = world.run("sysctl", "-n", "net.ipv4.ip_local_port_range").stdout
        world.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40001")
        script = ("import socket\nheld = [socket.create_server(('127.0.0.1', p)) for p in (28531, 40000, 40001)]\nprint(1, flush=True); input()")
        taken = world.python(script, stdin=-1, stdout=-1)
        try:
            taken.stdout.readline()
            self.check(["run", "curl", "--ca-dir", world.ca_dir], 1,
                       "osproxy: no free port on 127.0.0.1 for the listener; the range of local ports is a sysctl (net.ipv4.ip_local_port_range, net.inet.ip.portrange)")
        finally:
            taken.kill()
            world.run("sysctl", "-qw", f"net.ipv4.ip_local_port_range={range_before.strip()}")

    def test_packet_filter_that_cannot_be_had(self):
        """Root without CAP_NET_ADMIN, as in a container: the kernel refuses nf_tables."""
        self.check(["run", "curl", "--ca-dir", world.ca_dir], 1,
                   "osproxy: cannot read packet-filter rules: no permission; run as root (CAP_NET_ADMIN in this network namespace)",
                   before=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])

    def test_kernel_without_nf_tables(self):
        """As where CONFIG_NETFILTER_NETLINK is off: a seccomp filter answers for the kernel that there is no such protocol."""
        result = world.run("/usr/bin/python3", "-c", WITHOUT_NETFILTER, OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, check=False)
        self.assertEqual(result.returncode, 1)
        text = "osproxy: this kernel has no netfilter over netlink (CONFIG_NETFILTER_NETLINK); nothing can be diverted"
        self.assertEqual(result.stderr.splitlines()[-1], text)

    def test_read_only_places(self):
        """A read-only home is nothing to stumble over; a CA folder that cannot be made is said."""
        script = f"mount -t tmpfs -o ro none /root && exec {OSPROXY} config check"
        self.assertEqual(run("unshare", "-m", "sh", "-c", script).stdout, "/root/.config/osproxy/config.json does not exist: the defaults are used\n")
        script = f"mount -t tmpfs -o ro none /mnt && exec nsenter --net=/run/netns/{world.client} {OSPROXY} run curl --allow-untrusted --ca-dir /mnt/ca"
        result = run("unshare", "-m", "sh", "-c", script, check=False)
        self.assertEqual((result.returncode, result.stderr), (1, "osproxy: cannot create /mnt/ca: Read-only file system\n"))

    def test_full_disk_for_pcap(self):
        """The capture stops with one line; interception goes on."""
        folder = f"{world.dir}/small"
        os.mkdir(folder)
        run("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
        world.file("large", 1 << 20)
        try:
            with Osproxy(world, "curl", "--pcap", f"{folder}/p") as osproxy:
                world.curl("https://one.test/files/large", "-o", "/dev/null", trust="osproxy")
                osproxy.wait_for_flow(url="https://one.test/files/large")
                world.curl("https://one.test/after", trust="osproxy")
                osproxy.wait_for_flow(url="https://one.test/after")
                lines = [line for line in osproxy.stderr().splitlines() if "--pcap" in line]
            self.assertEqual(lines, [f"osproxy: --pcap {folder}/p: cannot write: No space left on device; recording to it has stopped, interception goes on"])
        finally:
            run("umount", folder)

    def test_full_disk_for_pcap_and_for_the_log(self):
        """What cannot be said either is lost: interception goes on all the same."""
        folder = f"{world.dir}/tiny"
        os.mkdir(folder)
        run("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
        self.addCleanup(run, "umount", folder)
        world.file("large", 1 << 20)
        for command, words in (("run", ["curl"]), ("exec", ["--", "sh", "-c", "read done"])):
            osproxy = Osproxy(world, "--pcap", f"{folder}/{command}", *words, command=command)
            with self.subTest(command), open("/dev/full", "w") as full:
                process = world.spawn(osproxy.command, stdin=subprocess.PIPE, stderr=full, env=osproxy.environment)
                self.addCleanup(process.kill)
                wait_for(lambda: "table inet osproxy\n" in world.tables(), "the rules")
                if command == "run":
                    for name in ("files/large", "files/large", "after"):
                        world.curl(f"https://one.test/{name}", "-o", "/dev/null", trust="osproxy")
                        osproxy.wait_for_flow(url=f"https://one.test/{name}")
                    process.send_signal(signal.SIGINT)
                process.stdin.close()
                os.unlink(f"{folder}/{command}")
                self.assertEqual(process.wait(PATIENCE), 0 if command == "run" else 1)  # read: the end of its input

    def test_an_error_that_cannot_be_said(self):
        for words, code in ((["--fromat", "text"], 2), (["run", "--output", "/no/flows"], 1)):
            with open("/dev/full", "w") as full:
                self.assertEqual(subprocess.run(world.inside([OSPROXY, *words]), stderr=full).returncode, code)

    def test_a_home_that_cannot_be_written(self):
        """There is no configuration to read, and no list of what was learned: a run works without."""
        hide = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o ro none /root && exec \"$@\"", "sh"]
        osproxy = Osproxy(world, "curl", environment={"HOME": "/root"})
        osproxy.command = hide + osproxy.command
        with osproxy:
            world.curl("https://one.test/read-only", trust="osproxy")
            osproxy.wait_for_flow(url="https://one.test/read-only")
        command = Osproxy(world, "--", "curl", "-sS", f"https://{V4[0]}/exec", command="exec", environment={"HOME": "/root"})
        result = world.run(*hide, *command.command, env=command.environment)
        self.assertEqual(result.stdout, f"hello from {V4[0]}\n", result.stderr)
        command.wait_for_flow(url=f"https://{V4[0]}/exec")

    def test_disk_that_is_full_from_the_start(self):
        result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--pcap", "/dev/full", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr.splitlines()[-2:],
                         ["osproxy: --pcap /dev/full: cannot write: No space left on device", "osproxy: the worker ended; nothing was diverted"])
        self.assertNotIn("osproxy", world.tables())


if __name__ == "__main__":
    main()
