"""architecture.md, Privilege: who may do what, bullet by bullet."""
import ctypes
import os
import re
import shutil
import signal
import socket
import stat
import tempfile
import time
import unittest

from containers import in_user_namespace, let_go
from harness import OSPROXY, Osproxy, TemporaryUser, World, children_of, main, run, status_of, wait_for

world = None
user = None


def setUpModule():
    global world, user
    world = World()
    user = TemporaryUser().__enter__()


def tearDownModule():
    user.__exit__()
    world.close()


def listener_port():
    rules = world.run("nft", "list", "table", "inet", "osproxy").stdout
    return int(rules.split("redirect to :", 1)[1].split()[0])


def pipes_of(pid):
    """(descriptor, inode text, opened for writing) of each pipe end."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("pipe:"):
                flags = int(next(line.split()[1] for line in open(f"/proc/{pid}/fdinfo/{name}") if line.startswith("flags:")), 8)
                found.append((int(name), target, bool(flags & os.O_ACCMODE)))
        except OSError:
            pass
    return found


class Worker(unittest.TestCase):
    def test_worker_is_the_user_with_one_group_and_sealed(self):
        with Osproxy(world, "curl", environment=user.environment, jsonl=False) as osproxy:
            status = status_of(osproxy.worker())
            self.assertEqual(set(status["Uid"].split()), {str(user.uid)})
            gid = status["Gid"].split()[0]
            self.assertEqual(set(status["Gid"].split()), {gid})
            self.assertEqual(status["Groups"].strip(), "")
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(int(status["CapEff"], 16), 0)
            # Not dumpable: its files in /proc belong to root, so the user's other programs cannot look into its memory.
            self.assertEqual(os.stat(f"/proc/{osproxy.worker()}/mem").st_uid, 0)
            self.assertIn(f"meta skgid {gid} return", world.run("nft", "list", "table", "inet", "osproxy").stdout)
            self.assertNotEqual(run("getent", "group", gid, check=False).returncode, 0)

    def test_worker_is_confined(self):
        """What it can no longer do is tried by tests/divert/confine_test.cpp; here, that it is so once it carries connections."""
        with Osproxy(world, "curl", environment=user.environment, jsonl=False) as osproxy:
            world.curl("https://one.test/", trust="osproxy")
            worker = osproxy.worker()
            for task in os.listdir(f"/proc/{worker}/task"):
                with open(f"/proc/{worker}/task/{task}/status") as file:
                    self.assertIn("Seccomp:\t2\n", file.read())

    def test_the_environment_configures_no_openssl(self):
        """A configuration like this one makes every key and every digest of OpenSSL's fail; others load libraries, as root."""
        config = f"{world.dir}/openssl.cnf"
        with open(config, "w") as file:
            file.write("openssl_conf = all\n[all]\nalg_section = algorithms\n[algorithms]\ndefault_properties = fips=yes\n")
        environment = {"OPENSSL_CONF": config, "OPENSSL_MODULES": world.dir}
        fails = run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", check=False, env={**os.environ, **environment})
        self.assertNotEqual(fails.returncode, 0)
        before, world.ca_dir = world.ca_dir, f"{world.dir}/unconfigured"
        self.addCleanup(setattr, world, "ca_dir", before)
        with Osproxy(world, "curl", environment=environment) as osproxy:
            world.curl("https://one.test/", trust="osproxy")
            self.assertEqual(osproxy.wait_for_flow(type="http")["status"], 200)

    def test_worker_is_nobody_for_real_root(self):
        with Osproxy(world, "curl") as osproxy:
            self.assertEqual(status_of(osproxy.worker())["Uid"].split()[0], "65534")

    def test_worker_holds_no_rules_and_cannot_read_the_root_key(self):
        with Osproxy(world, "curl", environment=user.environment, jsonl=False) as osproxy:
            key = f"{world.ca_dir}/root-ca.key"
            facts = os.stat(key)
            self.assertEqual((facts.st_uid, stat.S_IMODE(facts.st_mode)), (0, 0o600))
            gid = status_of(osproxy.worker())["Gid"].split()[0]
            as_worker = run("setpriv", "--reuid", str(user.uid), "--regid", gid, "--clear-groups", "cat", key, check=False)
            self.assertIn("Permission denied", as_worker.stderr)
            netlink = {line.split()[9] for line in open(f"/proc/{osproxy.broker()}/net/netlink") if line.split()[1] in ("4", "12")}
            held = {os.readlink(f"/proc/{osproxy.worker()}/fd/{fd}") for fd in os.listdir(f"/proc/{osproxy.worker()}/fd")}
            self.assertTrue(netlink)
            self.assertFalse({f"socket:[{inode}]" for inode in netlink} & held)

    def test_a_certificate_signed_by_the_worker_is_short_lived(self):
        with Osproxy(world, "openssl"):
            chain = world.run("openssl", "s_client", "-showcerts", "-connect", "192.0.2.2:443", "-servername", "one.test", input="").stdout
        intermediate = chain.split("-----BEGIN CERTIFICATE-----")[2].split("-----END")[0]
        pem = f"-----BEGIN CERTIFICATE-----{intermediate}-----END CERTIFICATE-----\n"
        self.assertNotEqual(run("openssl", "x509", "-checkend", str(8 * 86400), "-noout", input=pem, check=False).returncode, 0)
        self.assertEqual(run("openssl", "x509", "-checkend", str(6 * 86400), "-noout", input=pem, check=False).returncode, 0)


class Intermediate(unittest.TestCase):
    def ask_for_another(self, worker):
        """What the worker says on the last of the seven days, said in its place: on each of its sockets to the broker."""
        worker_fd = os.pidfd_open(worker)
        for name in os.listdir(f"/proc/{worker}/fd"):
            if os.readlink(f"/proc/{worker}/fd/{name}").startswith("socket:"):
                with socket.socket(fileno=ctypes.CDLL(None).syscall(438, worker_fd, int(name), 0)) as end:  # pidfd_getfd
                    if (end.family, end.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                        end.send(b"n")
        os.close(worker_fd)

    def shown(self):
        """What an intercepted program is shown of our intermediate."""
        text = world.run("openssl", "s_client", "-connect", "192.0.2.2:443", "-servername", "one.test", "-showcerts", "-CAfile",
                         world.trusting("osproxy"), "-verify_return_error", input="GET / HTTP/1.0\r\n\r\n").stdout
        return re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", text)[1]

    def test_a_new_one_takes_the_place_of_the_old_one(self):
        with Osproxy(world, "openssl") as osproxy:
            first = self.shown()
            self.assertEqual(self.shown(), first)
            def changed():
                self.ask_for_another(osproxy.worker())
                time.sleep(1)
                return self.shown() != first
            wait_for(changed, "another intermediate")


class Files(unittest.TestCase):
    def test_files_belong_to_the_user(self):
        folder = f"{user.home}/out"
        run("install", "-d", "-o", user.name, "-g", str(user.gid), folder)
        options = ["--output", f"{folder}/flows", "--pcap", f"{folder}/flows.pcap"]
        with Osproxy(world, "curl", *options, environment=user.environment, jsonl=False):
            world.curl("https://one.test/", trust="osproxy")
        for name in ("flows", "flows.pcap"):
            facts = os.stat(f"{folder}/{name}")
            self.assertEqual((facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)), (user.uid, user.gid, 0o600), name)
            self.assertGreater(facts.st_size, 0, name)

    def test_a_place_where_the_user_may_not_write_is_refused(self):
        path = f"{world.dir}/not-yours"
        result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--output", path, check=False, env={**os.environ, **user.environment})
        self.assertEqual((result.returncode, result.stderr), (1, f"osproxy: --output: cannot open {path}: Permission denied\n"))
        self.assertFalse(os.path.exists(path))
        self.assertEqual(world.tables(), "")

    def test_what_is_decrypted_goes_into_a_file_of_the_users_own_only(self):
        """As in /tmp, where others may have put a file or a link of the name that the user types."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o1777)
        anothers, linked, link, pipe, second, third = (f"{folder}/{name}" for name in ("anothers", "linked", "link", "pipe", "second", "third"))
        for path in (anothers, linked, second):
            with open(path, "w") as file:
                file.write("kept")
            os.chmod(path, 0o666)
        os.chown(anothers, 65534, 65534)
        os.chown(linked, user.uid, user.gid)
        os.symlink(linked, link)
        os.chown(second, user.uid, user.gid)
        os.link(second, third)
        os.mkfifo(pipe)
        os.chmod(pipe, 0o666)
        for option in ("--output", "--pcap", "--keylog"):
            for path, reason in [(anothers, "belongs to another user; name a file of your own, or a new one"),
                                 (link, "is a symbolic link; name the file that it leads to"),
                                 (pipe, "belongs to another user; name a file of your own, or a new one"),
                                 (third, "has another name, too (a hard link); name a file that has one name, or a new one"),
                                 (folder, "is neither a file nor a FIFO nor a terminal")]:
                with self.subTest(option, path=path):
                    result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, option, path, check=False, env={**os.environ, **user.environment})
                    self.assertEqual((result.returncode, result.stderr), (1, f"osproxy: {option}: {path} {reason}\n"))
        for path in (anothers, linked, second):
            with open(path) as file:
                self.assertEqual(file.read(), "kept", path)

    def test_a_file_of_the_users_that_others_can_read_becomes_private(self):
        folder = f"{user.home}/open"
        run("install", "-d", "-o", user.name, "-g", str(user.gid), folder)
        path = f"{folder}/flows"
        with open(path, "w") as file:
            file.write("old")
        os.chmod(path, 0o666)
        os.chown(path, user.uid, user.gid)
        with Osproxy(world, "curl", "--output", path, environment=user.environment, jsonl=False):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            world.curl("https://one.test/", trust="osproxy")
        with open(path) as file:
            text = file.read()
        self.assertIn("https://one.test/", text)
        self.assertNotIn("old", text)

    def test_the_callers_own_descriptors_do(self):
        """/dev/stderr and what bash makes of >(...), which are symbolic links on Linux."""
        for path in ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"):
            with self.subTest(path), Osproxy(world, "curl", "--output", path, environment=user.environment, jsonl=False) as osproxy:
                world.curl("https://one.test/", trust="osproxy")
                wait_for(lambda: "https://one.test/" in osproxy.stderr(), "the flow")

    def test_the_users_files_are_read_with_the_users_rights(self):
        secret = f"{world.dir}/secret.json"
        with open(secret, "w") as file:
            file.write("{}")
        os.chmod(secret, 0o600)
        result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--config", secret, check=False, env={**os.environ, **user.environment})
        self.assertEqual((result.returncode, result.stderr), (1, f"osproxy: --config: cannot read {secret}: Permission denied\n"))


class Listeners(unittest.TestCase):
    def test_another_uid_cannot_join_the_listeners(self):
        with Osproxy(world, "curl"):
            script = ("import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); "
                      "s.bind(('127.0.0.1', int(sys.argv[1])))")
            result = world.run("setpriv", "--reuid", "65534", "--clear-groups", "/usr/bin/python3", "-c", script, str(listener_port()), check=False)
            self.assertIn("Address already in use", result.stderr)

    def test_a_direct_visitor_is_closed_and_leaves_no_flow(self):
        for options in ([], ["--loopback"]):
            with Osproxy(world, *options) as osproxy:
                script = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.settimeout(60); print(s.recv(1))"
                result = world.run("/usr/bin/python3", "-c", script, str(listener_port()), check=False)
                self.assertTrue("b''" in result.stdout or "reset" in result.stderr, result)
                world.curl("http://one.test/")
                osproxy.wait_for_flow(type="http")
                self.assertEqual(len(osproxy.flows(event="end")), 1)

    def test_loopback_is_taken_on_request_only(self):
        server = world.python("import http.server as h; h.HTTPServer(('127.0.0.1', 8000), h.SimpleHTTPRequestHandler).serve_forever()", cwd=world.dir)
        self.addCleanup(server.kill)
        url = "http://127.0.0.1:8000/"
        wait_for(lambda: world.curl(url, check=False).returncode == 0, "the local server")
        with Osproxy(world, "curl", "--loopback") as osproxy:
            world.curl(url)
            self.assertEqual(osproxy.wait_for_flow(type="http")["server"], "127.0.0.1:8000")
        with Osproxy(world, "curl") as osproxy:
            world.curl(url)
            world.curl("http://one.test/")
            osproxy.wait_for_flow(type="http")
            self.assertEqual(osproxy.flows(server="127.0.0.1:8000"), [])


class Group(unittest.TestCase):
    def test_a_number_that_somebody_has_is_refused(self):
        gid = run("getent", "group", "adm").stdout.split(":")[2]
        result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--group", gid, check=False)
        text = f"osproxy: group number {gid} belongs to the group adm: its connections would escape; choose another with --group, or none\n"
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stderr.endswith(text), result.stderr)
        self.assertEqual(world.tables(), "")

    def test_a_free_number_can_be_chosen(self):
        with Osproxy(world, "curl", "--group", "777123") as osproxy:
            self.assertEqual(status_of(osproxy.worker())["Gid"].split()[0], "777123")

    def test_one_is_chosen_that_exists_in_the_user_namespace(self):
        """As in LXD and rootless containers: the usual number is none that the kernel knows there."""
        command = [OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir]
        said = f"{world.dir}/namespace.stderr"
        inside = in_user_namespace(self, command, "0 0 90000\n", said)
        let_go(inside, said)
        self.assertIsNone(inside.poll(), open(said).read())
        self.assertIn("89999", [status_of(pid)["Gid"].split()[0] for pid in children_of(inside.pid)])
        inside.send_signal(signal.SIGINT)
        self.assertEqual(inside.wait(30), 0)


class Guard(unittest.TestCase):
    def test_only_the_broker_holds_the_guards_pipe(self):
        with Osproxy(world, "curl") as osproxy:
            guard_pipe = next(target for fd, target, _ in pipes_of(osproxy.guard()) if fd == 0)
            self.assertEqual(os.listdir(f"/proc/{osproxy.guard()}/fd").count("0"), 1)
            writers = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    writers += [int(pid) for _, target, writes in pipes_of(pid) if target == guard_pipe and writes]
                except OSError:
                    pass
            self.assertEqual(writers, [osproxy.broker()])

    def test_guard_has_its_own_session_and_ignores_the_terminals_signals(self):
        with Osproxy(world, "curl") as osproxy:
            guard = osproxy.guard()
            self.assertEqual(os.getsid(guard), guard)
            ignored = int(status_of(guard)["SigIgn"], 16)
            for number in (1, 2, 15):
                self.assertTrue(ignored >> (number - 1) & 1, number)


if __name__ == "__main__":
    main()
