"""With the machine's own programs as a user meets them: sudo, the system's trust store, an SSH server that speaks first."""
import os
import subprocess
import unittest

from harness import HOSTS, OSPROXY, Osproxy, TemporaryUser, Terminal, World, main, run, wait_for

world = None
user = None
ONE = HOSTS["one.test"][0]
# What `osproxy ca install` and Debian's update-ca-certificates write to.
SYSTEM_STORE = ["/etc/ssl", "/usr/local/share/ca-certificates", "/etc/ca-certificates"]


def setUpModule():
    global world, user
    world = World()
    user = TemporaryUser().__enter__()


def tearDownModule():
    user.__exit__()
    world.close()


class Sudo(unittest.TestCase):
    def setUp(self):
        self.sudoers = f"/etc/sudoers.d/{user.name}"
        with open(self.sudoers, "w") as file:
            file.write(f"{user.name} ALL=(root) NOPASSWD: {OSPROXY}\n")
        os.chmod(self.sudoers, 0o440)
        self.addCleanup(os.unlink, self.sudoers)

    def sudo(self, *words):
        return world.run("runuser", "-u", user.name, "--", "sudo", "-n", OSPROXY, *words, cwd=user.home, env={**os.environ, "HOME": user.home})

    def test_the_command_and_the_files_are_those_of_the_user_who_typed_sudo(self):
        options = ["--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem", "-f", "jsonl", "-o", "flows.jsonl"]
        script = f"id -un; echo $HOME; curl -sS https://{ONE}/sudo"
        result = self.sudo("exec", *options, "--", "sh", "-c", script)
        self.assertEqual(result.stdout, f"{user.name}\n{user.home}\nhello from {ONE}\n", result.stderr)
        self.assertEqual(os.stat(f"{user.home}/flows.jsonl").st_uid, user.uid)
        with open(f"{user.home}/flows.jsonl") as file:
            self.assertIn(f'"url":"https://{ONE}/sudo"', file.read())

    def test_sessions_are_where_the_users_shell_has_them(self):
        """XDG_STATE_HOME, which sudo drops: with it and without it every command looks in the same directory."""
        state = f"{user.home}/state"
        environment = {**os.environ, "HOME": user.home, "XDG_STATE_HOME": state}

        def as_user(*words):
            return world.run("runuser", "-u", user.name, "--", *words, cwd=user.home, env=environment)
        as_user("sudo", "-n", OSPROXY, "exec", "--ca-dir", world.ca_dir, "--save", "auto", "--", "curl", "-sS", f"http://{ONE}/")
        file, = os.listdir(f"{state}/osproxy/sessions")
        name = file.removesuffix(".osp")
        for sudo in ([], ["sudo", "-n"]):
            osproxy = [*sudo, OSPROXY]
            self.assertEqual(as_user(*osproxy, "query", name, "--count").stdout, "1\n")
            self.assertIn(f"http://{ONE}/", as_user(*osproxy, "open", name).stdout)
            self.assertIn(name, as_user(*osproxy, "sessions", "list").stdout)
            out = f"{user.home}/{len(sudo)}.jsonl"
            as_user(*osproxy, "export", name, "-o", out)
            self.assertIn("-import", as_user(*osproxy, "import", out, "--save", "auto").stdout)
        self.assertEqual(len(os.listdir(f"{state}/osproxy/sessions")), 3)
        self.assertFalse(os.path.exists(f"{user.home}/.local/state/osproxy/sessions"))

    def test_exec_takes_back_the_path_and_the_cas_that_sudo_has_reset(self):
        """secure_path and env_reset are for what runs as root; the command runs as the user."""
        os.makedirs(f"{user.home}/bin", exist_ok=True)
        with open(f"{user.home}/bin/own-fetch", "w") as file:
            file.write(f"#!/bin/sh\necho $PATH; exec curl -sS https://{ONE}/path\n")
        os.chmod(f"{user.home}/bin/own-fetch", 0o755)
        path = f"{user.home}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"HOME": user.home, "PATH": path, "CURL_CA_BUNDLE": f"{world.dir}/ca.pem"}
        osproxy = [OSPROXY, "exec", "--ca-dir", f"{world.dir}/ca-of-sudo", "--", "own-fetch"]

        def sudo(*words):
            return world.run("runuser", "-u", user.name, "--", "sudo", "-n", *words, cwd=user.home, env=environment, check=False)
        result = sudo(*osproxy)
        self.assertEqual(result.stdout, f"{path}\nhello from {ONE}\n", result.stderr)
        # Whoever chooses an environment gets that one, and a hint.
        with open(self.sudoers, "a") as file:
            file.write(f"{user.name} ALL=(root) NOPASSWD: /usr/bin/env\n")
        result = sudo("env", "A=b", *osproxy)
        self.assertEqual(result.returncode, 127)
        self.assertIn("osproxy: cannot run 'own-fetch': No such file or directory; sudo has set another PATH than your shell's; try: "
                      f"sudo env \"PATH=$PATH\" osproxy exec --ca-dir {world.dir}/ca-of-sudo -- own-fetch\n", result.stderr)

    def on_terminal(self, words):
        """As the user, on a terminal; sudo gives what it runs another one, and passes on what is typed."""
        user_words = ["setpriv", "--reuid", user.name, "--regid", user.name, "--init-groups", *words]
        return Terminal(world.inside(user_words), {"HOME": user.home, "PS1": "prompt> "})

    def use_pty(self, *words):
        with open(self.sudoers, "a") as file:
            file.write(f"Defaults:{user.name} use_pty\n")
        return ["sudo", "-n", OSPROXY, *words]

    def test_ctrl_c_on_a_terminal_of_sudos_own(self):
        run_it = self.use_pty("curl", "--allow-untrusted", "--ca-dir", world.ca_dir)
        with self.on_terminal(run_it) as terminal:
            terminal.read_until(b"osproxy: capturing curl")
            terminal.write(b"\x03")
            self.assertEqual(terminal.wait(), 0)
        self.assertEqual(world.tables(), "")
        script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"
        with self.on_terminal(["sudo", "-n", OSPROXY, "exec", "--ca-dir", world.ca_dir, "--", "sh", "-c", script]) as terminal:
            terminal.read_until(b"ready")
            terminal.write(b"\x03")
            terminal.read_until(b"caught")
            self.assertEqual(terminal.wait(), 7)
        self.assertEqual(world.tables(), "")

    def test_a_command_reads_the_terminal_through_sudo_also_after_ctrl_z(self):
        words = self.use_pty("exec", "--ca-dir", world.ca_dir, "--", "sh", "-c", "echo ready; exec cat")
        with self.on_terminal(["bash", "--norc", "--noprofile", "-i"]) as terminal:
            terminal.read_until(b"prompt> ")
            terminal.write((" ".join(f"'{word}'" for word in words) + "\r").encode())
            terminal.read_until_all(b"ready\r\n", b"osproxy: capturing sh on all TCP ports\r\n")
            terminal.write(b"first\r")
            terminal.read_until(b"first\r\nfirst\r\n")
            terminal.write(b"\x1a")
            terminal.read_until(b"Stopped")
            terminal.read_until(b"prompt> ")
            terminal.write(b"fg\r")
            wait_for(lambda: "table inet osproxy\n" in world.tables(), "the rules")
            terminal.write(b"second\r")
            terminal.read_until(b"second\r\nsecond\r\n")
            terminal.write(b"\x04")
            terminal.read_until(b"prompt> ")
            terminal.write(b"exit $?\r")
            self.assertEqual(terminal.wait(), 0)
        self.assertEqual(world.tables(), "")


class TrustStore(unittest.TestCase):
    def in_own_store(self, script):
        """A shell whose writes to the system's store are its own: osproxy and update-ca-certificates are real, the machine keeps its store."""
        mounts = []
        for number, place in enumerate(SYSTEM_STORE):
            layer = f"$scratch/{number}"
            mounts.append(f"mkdir -p {place} {layer}/up {layer}/work; mount -t overlay none -o lowerdir={place},upperdir={layer}/up,workdir={layer}/work {place}")
        script = "\n".join(["set -e; scratch=$(mktemp -d); mount -t tmpfs none $scratch", *mounts, f"mount -t tmpfs none {user.home}", script])
        return run("unshare", "--mount", "sh", "-c", script, env={**os.environ, "SUDO_UID": str(user.uid), "SUDO_GID": str(user.gid)})

    def test_a_program_without_options_trusts_it_after_install_and_no_longer_after_uninstall(self):
        osproxy = f"{OSPROXY} ca {{}} --ca-dir {world.ca_dir}".format
        show = f"nsenter --net=/run/netns/{world.client} curl -sS -m 30 -o /dev/null -w '%{{http_code}} %{{ssl_verify_result}}\\n' https://{ONE}/ 2>&1 || true"
        script = "\n".join([show, osproxy("install"), osproxy("install"), osproxy("status"), show, osproxy("uninstall"), show])
        with Osproxy(world, "curl") as running:
            lines = self.in_own_store(script).stdout.splitlines()
            running.wait_for_flow(status=200)
        codes = [line for line in lines if line[:4] in ("000 ", "200 ")]
        self.assertEqual([code.split()[0] for code in codes], ["000", "200", "000"], lines)
        self.assertEqual(codes[1], "200 0")


    def test_a_store_that_fails_is_an_error(self):
        osproxy = f"{OSPROXY} ca {{}} --ca-dir {world.ca_dir} || echo status $?".format
        broken = "printf '#!/bin/sh\\necho disk on fire >&2; exit 3\\n' > $scratch/broken; chmod 755 $scratch/broken; mount --bind $scratch/broken /usr/sbin/update-ca-certificates"
        run(OSPROXY, "ca", "create", "--ca-dir", world.ca_dir, check=False)
        result = self.in_own_store("\n".join([broken, osproxy("install")]))
        complaint = "osproxy: system (/usr/local/share/ca-certificates): update-ca-certificates failed (exit 3): disk on fire\n"
        self.assertEqual(result.stderr, complaint)
        self.assertIn("status 1\n", result.stdout)
        self.assertRegex(result.stdout, r"(?m)^not trusted  system .*: update-ca-certificates failed")
        result = self.in_own_store("\n".join([osproxy("install"), broken, osproxy("uninstall")]))
        self.assertEqual(result.stderr, complaint)
        self.assertEqual(result.stdout.count("status 1\n"), 1, result.stdout)


class SystemStore(unittest.TestCase):
    """Which servers are believed, unless --upstream-ca says so: those that the machine believes."""

    def check(self, osproxy, status):
        with osproxy:
            answer = world.curl("https://one.test/", "-o", "/dev/null", "-w", "%{http_code}", trust="osproxy", check=False)
            self.assertEqual(answer.stdout, status)
            error = osproxy.wait_for_flow(type="http" if status == "200" else "tls_error")["error"]
            self.assertEqual(error is None, status == "200", error)

    def test_a_ca_that_the_machine_trusts(self):
        self.check(Osproxy(world, "curl", upstream_ca=False), "000")
        trusting = Osproxy(world, "curl", upstream_ca=False)
        script = f"mount -t tmpfs none /etc/ssl/certs && cp {world.dir}/ca.pem /etc/ssl/certs/e2e.pem && openssl rehash /etc/ssl/certs && exec \"$@\""
        trusting.command = ["unshare", "--mount", "sh", "-c", script, "sh", *trusting.command]
        self.check(trusting, "200")

    def test_a_ca_that_the_variable_names(self):
        self.check(Osproxy(world, "curl", upstream_ca=False, environment={"SSL_CERT_FILE": f"{world.dir}/ca.pem"}), "200")


class ServerSpeaksFirst(unittest.TestCase):
    def test_ssh_on_an_intercepted_port(self):
        d = world.dir
        for name in ("host", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{d}/{name}")
        run("install", "-m", "600", f"{d}/key.pub", f"{d}/authorized")
        os.makedirs("/run/sshd", exist_ok=True)
        with open(f"{d}/sshd.conf", "w") as file:
            file.write(f"Port 8022\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized\nStrictModes no\nPidFile none\nPermitRootLogin yes\n")
        world.spawn(["/usr/sbin/sshd", "-D", "-e", "-f", f"{d}/sshd.conf"], where=world.origin)
        ssh = ["ssh", "-p", "8022", "-i", f"{d}/key", "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={d}/known",
               "-o", "ConnectionAttempts=20", f"root@{ONE}"]
        self.assertEqual(world.run(*ssh, "echo up", stdin=subprocess.DEVNULL).stdout, "up\n")
        with Osproxy(world, "ssh", "--ports", "8022") as osproxy:
            answer = world.run(*ssh, "tr a-z A-Z", input="x" * 1_000_000 + "\n")
            self.assertEqual(answer.stdout, "X" * 1_000_000 + "\n")
            flow = osproxy.wait_for_flow(type="tcp")
            self.assertEqual((flow["process"]["name"], flow["error"]), ("ssh", None))
            self.assertGreater(min(flow["request_bytes"], flow["response_bytes"]), 1_000_000)


if __name__ == "__main__":
    main()
