"""The commands beside run and exec: rules, who, ca, config, help; with and without root."""
import json
import os
import re
import subprocess
import unittest

import jsonschema

from harness import OSPROXY, TOP, Osproxy, TemporaryUser, World, main, run

world = None
COMMANDS = ["run", "exec", "rules", "who", "ca", "config", "cleanup"]


def setUpModule():
    global world
    world = World(nginx=False)


def tearDownModule():
    world.close()


def osproxy(*words, code=0, program=(OSPROXY,), **options):
    """The program in the client's namespace; returns (stdout, stderr)."""
    result = world.run(*program, *words, check=False, **options)
    assert result.returncode == code, f"osproxy {' '.join(words)} ended with {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout, result.stderr


def as_nobody(*words, **options):
    return osproxy(*words, program=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", OSPROXY], **options)


def without_comments(rules):
    lines = [re.sub(r"\s*#.*", "", line) for line in rules.splitlines()]
    return "\n".join(line for line in lines if line.strip())


class Rules(unittest.TestCase):
    OPTIONS = [
        [],
        ["--ports", "all"],
        ["--ports", "443,8000-8100"],
        ["--ports", "8443,80-90,85"],
        ["--exclude", "10.0.0.0/8,fe80::/10,192.0.2.77"],
        ["--family", "ipv4"],
        ["--family", "ipv6", "--loopback"],
        ["--loopback", "--ports", "443"],
        ["--engine", "redirect"],
        ["--engine", "redirect", "--ports", "443,8000-8100"],
        ["--engine", "packet", "--mark", "0x100", "--quic", "allow"],
    ]

    def test_printed_is_what_is_loaded(self):
        for options in self.OPTIONS:
            fixed = [*options, "--group", "54321", "--listen-port", "28777"]
            printed, errors = osproxy("rules", *fixed)
            self.assertEqual(errors, "")
            with self.subTest(options=options), Osproxy(world, "curl", *fixed):
                loaded = world.run("nft", "list", "table", "inet", "osproxy").stdout
                # How nft lists the xtables target, where the kernel has no `queue` of nft's own.
                loaded = re.sub(r"queue num ([0-9-]+) bypass,fanout", r"queue flags bypass,fanout to \1", loaded)
                self.assertEqual(without_comments(printed), without_comments(loaded))
                self.assertIn("skgid 54321", loaded)
                self.assertIn(":28777", loaded)

    def test_needs_no_root_and_loads_nothing(self):
        printed, errors = as_nobody("rules", "--ports", "443")
        self.assertEqual(errors, "")
        self.assertIn("table inet osproxy {", printed)
        self.assertNotIn("osproxy", world.tables())

    def test_takes_the_config_too(self):
        path = f"{world.dir}/rules.json"
        with open(path, "w") as file:
            json.dump({"ports": "1234", "exclude": ["10.0.0.0/8"]}, file)
        printed, _ = osproxy("rules", "-c", path)
        self.assertIn("1234", printed)
        self.assertIn("10.0.0.0/8", printed)

    def test_samples_of_pf(self):
        samples = {
            "darwin": ["--dialect", "darwin"],
            "darwin-exec": ["--dialect", "darwin", "--exec-group", "1869837432", "--ports", "all"],
            "darwin-loopback": ["--dialect", "darwin", "--loopback", "--engine", "redirect"],
            "freebsd": ["--dialect", "freebsd"],
            "freebsd-packet": ["--dialect", "freebsd", "--engine", "packet"],
            "freebsd-loopback": ["--dialect", "freebsd", "--loopback", "--engine", "redirect"],
            "openbsd": ["--dialect", "openbsd"],
        }
        for name, words in samples.items():
            with self.subTest(name=name), open(f"{TOP}/conf/osproxy.{name}.conf") as file:
                printed = as_nobody("rules", *words)
                self.assertEqual(printed, (file.read(), ""))
                self.assertEqual(as_nobody("rules", *words), printed)

    def test_options_of_pf(self):
        fixed = ["--ports", "443,8000-8100", "--exclude", "10.0.0.0/8", "--group", "54321", "--listen-port", "28777"]
        for dialect, target in (("darwin", "198.18.0.1"), ("freebsd", "198.18.0.1"), ("openbsd", "127.0.0.1")):
            printed, errors = as_nobody("rules", "--dialect", dialect, *fixed)
            self.assertEqual(errors, "")
            for part in ("port { 443, 8000:8100 }", " group != 54321 ", "10.0.0.0/8", f"{target} port 28777", "block return out quick"):
                self.assertIn(part, printed, dialect)
        printed, _ = osproxy("rules", "--dialect", "darwin", "--exec-group", "4711", "--quic", "allow", "--family", "ipv4")
        rules = without_comments(printed)
        self.assertIn(" group 4711 ", rules)
        for absent in ("udp", "inet6", "user"):
            self.assertNotIn(absent, rules)
        self.assertNotIn("inet ", without_comments(osproxy("rules", "--dialect", "freebsd", "--family", "ipv6")[0]))
        # A group that this machine knows may be free on the one that the rules are for.
        self.assertIn(" group != 1 ", osproxy("rules", "--dialect", "freebsd", "--group", "1")[0])
        self.assertEqual(osproxy("rules", "--dialect", "nft"), osproxy("rules"))

    def test_main_ruleset_with_our_lines_and_without(self):
        path = f"{world.dir}/pf.conf"
        original = "set skip on lo0\nblock in all # \"{\npass out all"
        with open(path, "w") as file:
            file.write(original)
        edited, errors = as_nobody("rules", "--dialect", "freebsd", "--into", path)
        self.assertEqual(errors, f"osproxy: {path}: line 1: while pf skips lo0, diverted connections time out; take it out of "
                                 "`set skip on`\n")
        self.assertEqual([line.split(" #")[0] for line in edited.splitlines()],
                         ["set skip on lo0", 'rdr-anchor "osproxy"', 'anchor "osproxy"', "block in all", "pass out all",
                          'load anchor "osproxy" from "/usr/local/etc/osproxy.pf.conf"'])
        with open(path, "w") as file:
            file.write(edited)
        self.assertEqual(osproxy("rules", "--dialect", "freebsd", "--into", path)[0], edited)
        self.assertEqual(as_nobody("rules", "--dialect", "freebsd", "--out-of", path), (original, ""))
        with open(path) as file:
            self.assertEqual(file.read(), edited)

    def test_wrong_usage_of_pf(self):
        path = f"{world.dir}/bad.conf"
        with open(path, "w") as file:
            file.write("pass in from { 10.0.0.1\n")
        darwin, freebsd, openbsd = (["--dialect", name] for name in ("darwin", "freebsd", "openbsd"))
        cases = [
            (["--dialect", "pf"], 2, "--dialect: expected nft|darwin|freebsd|openbsd, found 'pf'"),
            (["--into", path], 2, "--into is for pf; add --dialect darwin, freebsd or openbsd"),
            (["--out-of", path, "--dialect", "nft"], 2, "--out-of is for pf; add --dialect darwin, freebsd or openbsd"),
            (["--exec-group", "7"], 2, "--exec-group is for pf; add --dialect darwin, freebsd or openbsd"),
            ([*darwin, "--engine", "packet"], 2,
             "--engine packet does not go with --dialect darwin: its pf cannot hold packets until a verdict"),
            ([*openbsd, "--engine", "packet"], 2,
             "--engine packet does not go with --dialect openbsd: its pf cannot hold packets until a verdict"),
            ([*freebsd, "--mark", "0x1"], 2, "--mark does not go with --dialect freebsd: pf has no marks"),
            ([*freebsd, "--into", path, "--out-of", path], 2,
             "--out-of does not go with --into, which changes the references to the rules and not the rules"),
            ([*freebsd, "--into", path, "--ports", "1"], 2,
             "--ports does not go with --into, which changes the references to the rules and not the rules"),
            ([*darwin, "--ports", "90-80"], 2,
             "--ports: '90-80' is not a port or a range of ports; expected for example 443 or 8000-8100"),
            ([*darwin, "--exclude", "10.0.0.1/8"], 2, "--exclude: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"),
            ([*darwin, "--family", "v6"], 2, "--family: expected both|ipv4|ipv6, found 'v6'"),
            ([*darwin, "--exec-group", "0"], 2, "--exec-group: expected a number from 1 to 4294967294, found 0"),
            ([*freebsd, "--group", "77", "--exec-group", "77"], 1,
             "the capture group 77 is the exempt group as well; nothing would be diverted"),
            ([*darwin, "--group", "2147483647"], 1, "group 2147483647 is too large for macOS; choose one up to 2147483646"),
            ([*freebsd, "--into", path], 1, f"{path}: line 1: this brace is never closed"),
            ([*freebsd, "--out-of", path], 1, f"{path}: line 1: this brace is never closed"),
            ([*freebsd, "--into", "/nonexistent"], 1, "cannot read /nonexistent: No such file or directory"),
        ]
        for words, code, complaint in cases:
            with self.subTest(words=words):
                printed, errors = osproxy("rules", *words, code=code)
                self.assertEqual((printed, errors), ("", f"osproxy: {complaint}\n"))


class Who(unittest.TestCase):
    HOLDER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
print(listener.getsockname()[1], client.getsockname()[1], flush=True)
sys.stdin.read()
"""

    @classmethod
    def setUpClass(cls):
        cls.holder = world.python(cls.HOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cls.listener, cls.client = map(int, cls.holder.stdout.readline().split())

    @classmethod
    def tearDownClass(cls):
        cls.holder.stdin.close()
        cls.holder.wait(30)

    def row(self, text, local):
        return next(line.split() for line in text.splitlines() if line.startswith(f"127.0.0.1:{local} "))

    def test_table(self):
        text, errors = osproxy("who")
        self.assertEqual(errors, "")
        exe = os.readlink(f"/proc/{self.holder.pid}/exe")
        self.assertEqual(text.split("\n")[0].split(), ["LOCAL", "REMOTE", "STATE", "PID", "USER", "PROCESS"])
        self.assertEqual(self.row(text, self.listener)[1:], ["*", "LISTEN", str(self.holder.pid), "root", exe])
        self.assertEqual(self.row(text, self.client)[1:], [f"127.0.0.1:{self.listener}", "ESTAB", str(self.holder.pid), "root", exe])

    def test_one_port_and_one_address(self):
        for word in (f":{self.client}", f"127.0.0.1:{self.client}"):
            text, _ = osproxy("who", word)
            self.assertEqual(len(text.splitlines()), 3, text)
            self.assertEqual(self.row(text, self.client)[3], str(self.holder.pid))

    def test_jsonl(self):
        text, _ = osproxy("who", f":{self.listener}", "-f", "jsonl")
        rows = [json.loads(line) for line in text.splitlines()]
        self.assertEqual(len(rows), 3)
        listening = next(row for row in rows if row["state"] == "LISTEN")
        self.assertIsNone(listening["remote"])
        self.assertEqual(listening["local"], f"127.0.0.1:{self.listener}")
        self.assertEqual(listening["process"]["pid"], self.holder.pid)
        self.assertEqual(listening["process"]["argv"][0], "/usr/bin/python3")

    def test_nothing_there_and_nonsense(self):
        self.assertEqual(osproxy("who", ":1", code=1), ("", "osproxy: no TCP socket of this network namespace is at :1; to see who connects next: sudo osproxy who :1 --follow\n"))
        self.assertEqual(osproxy("who", "nonsense", code=1),
                         ("", "osproxy: no program that 'nonsense' selects has a TCP socket, and there is no host of that name\n"))

    def test_without_root_others_are_unknown(self):
        text, errors = as_nobody("who", f":{self.client}")
        self.assertEqual(errors, f"osproxy: owners of other users' sockets are seen by root only; try: sudo osproxy who :{self.client}\n")
        self.assertEqual(text, "2 sockets have no process that can be seen: 2 in ESTAB (-f jsonl lists them)\n")


class Ca(unittest.TestCase):
    def setUp(self):
        self.dir = f"{world.dir}/ca-{self.id().rsplit('.', 1)[1]}"

    def fingerprint(self, pem):
        text = run("openssl", "x509", "-noout", "-fingerprint", "-sha256", input=pem).stdout
        return text.strip().split("=")[1]

    def test_create_show_export_status(self):
        created, errors = osproxy("ca", "create", "--ca-dir", self.dir)
        self.assertEqual(errors, "")
        pem, _ = as_nobody("ca", "export", "--ca-dir", self.dir)
        self.assertTrue(pem.startswith("-----BEGIN CERTIFICATE-----\n"))
        subject = run("openssl", "x509", "-noout", "-subject", "-nameopt", "sep_comma_plus,utf8", input=pem).stdout.strip().split("=", 1)[1]
        ends = [run("openssl", "x509", "-noout", option, "-dateopt", "iso_8601", input=pem).stdout.split("=")[1][:10] for option in ("-startdate", "-enddate")]
        self.assertEqual(created, f"certificate  {self.dir}/root-ca.pem\nsubject      {subject}\nvalid        from {ends[0]} to {ends[1]}\n"
                                  f"SHA-256      {self.fingerprint(pem)}\n")
        self.assertEqual(osproxy("ca", "show", "--ca-dir", self.dir), (created, ""))
        self.assertEqual(as_nobody("ca", "show", "--ca-dir", self.dir), (created, ""))
        status, _ = osproxy("ca", "status", "--ca-dir", self.dir)
        self.assertRegex(status, r"(?m)^not trusted +\S")
        self.assertNotRegex(status, r"(?m)^trusted")
        self.assertIn("CA:TRUE", run("openssl", "x509", "-noout", "-text", input=pem).stdout)

    def test_the_key_is_for_root_only(self):
        osproxy("ca", "create", "--ca-dir", self.dir)
        keys = [name for name in os.listdir(self.dir) if "PRIVATE KEY" in open(f"{self.dir}/{name}").read()]
        self.assertEqual(len(keys), 1)
        facts = os.stat(f"{self.dir}/{keys[0]}")
        self.assertEqual((facts.st_uid, facts.st_mode & 0o777), (0, 0o600))

    def test_create_twice_says_so_and_changes_nothing(self):
        osproxy("ca", "create", "--ca-dir", self.dir)
        before, _ = osproxy("ca", "export", "--ca-dir", self.dir)
        _, errors = osproxy("ca", "create", "--ca-dir", self.dir, code=1)
        self.assertTrue(errors.startswith(f"osproxy: there is a root already: {self.dir}/root-ca.pem; "), errors)
        self.assertEqual(osproxy("ca", "export", "--ca-dir", self.dir)[0], before)

    def test_nothing_there(self):
        for verb in ("show", "export", "status"):
            out, errors = osproxy("ca", verb, "--ca-dir", self.dir, code=1)
            self.assertEqual(out, "")
            self.assertIn(self.dir, errors)
            self.assertIn(f"make one: sudo osproxy ca create --ca-dir {self.dir}\n", errors)

    def test_without_root(self):
        why = {"create": "to keep the key of the CA", "install": "to change the trust stores", "uninstall": "to change the trust stores"}
        for verb, purpose in why.items():
            self.assertEqual(as_nobody("ca", verb, "--ca-dir", self.dir, code=1),
                             ("", f"osproxy: ca needs root {purpose}; try: sudo osproxy ca {verb} --ca-dir {self.dir}\n"))

    def test_install_and_uninstall(self):
        """In a mount namespace whose trust stores are copies: the machine's own are not touched."""
        script = f"""
set -eu
mount --make-rprivate /
for folder in /etc /usr/local/share /root; do
  mkdir -p {self.dir}-over$folder/up {self.dir}-over$folder/work
  mount -t overlay overlay -o lowerdir=$folder,upperdir={self.dir}-over$folder/up,workdir={self.dir}-over$folder/work $folder
done
export HOME=/root
sum() {{ sha256sum /etc/ssl/certs/ca-certificates.crt; ls /etc/ssl/certs /usr/local/share/ca-certificates; }}
before=$(sum)
{OSPROXY} ca install --ca-dir {self.dir}
echo "== status"; {OSPROXY} ca status --ca-dir {self.dir}
echo "== verify"; openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt {self.dir}/root-ca.pem
{OSPROXY} ca install --ca-dir {self.dir} >/dev/null
echo "== uninstall"; {OSPROXY} ca uninstall --ca-dir {self.dir}
{OSPROXY} ca uninstall --ca-dir {self.dir} >/dev/null
[ "$before" = "$(sum)" ] && echo "== as before"
"""
        # An overlay's upper folder cannot lie on an overlay: a tmpfs holds it.
        base = f"{self.dir}-over"
        os.mkdir(base)
        # Root's stores, not those of the person who typed sudo, whose home is not covered.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SUDO_")}
        result = run("unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {base}\n{script}", check=False, env=environment)
        if "overlay" in result.stderr and "mount" in result.stderr:
            self.skipTest("no overlay file system: " + result.stderr.strip())
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        parts = dict(part.split("\n", 1) for part in ("== install\n" + result.stdout).split("== ")[1:] if "\n" in part)
        self.assertRegex(parts["install"], r"(?m)^trusted +\S")
        self.assertRegex(parts["status"], r"(?m)^trusted +\S")
        for part in ("install", "status"):
            self.assertIn(f"or name {self.dir}/root-ca.pem to those that\nadd it to their own list (NODE_EXTRA_CA_CERTS", parts[part])
        self.assertNotIn("Not covered", parts["uninstall"])
        self.assertIn("root-ca.pem: OK", parts["verify"])
        self.assertNotRegex(parts["uninstall"], r"(?m)^trusted")
        self.assertIn("as before", parts)


class Config(unittest.TestCase):
    def config(self, text):
        path = f"{world.dir}/config.json"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_the_sample_is_good(self):
        self.assertEqual(osproxy("config", "check", "-c", f"{TOP}/conf/osproxy.json"), (f"{TOP}/conf/osproxy.json is good\n", ""))

    def test_show_is_what_a_run_would_use_and_is_valid(self):
        path = self.config('{"ports": ["1", "2"], "detail": 3}')
        shown = json.loads(osproxy("config", "show", "-c", path)[0])
        self.assertEqual((shown["ports"], shown["detail"], shown["tls-min"]), (["1", "2"], 3, "1.2"))
        with open(f"{TOP}/conf/osproxy.schema.json") as file:
            jsonschema.validate(shown, json.load(file))
        self.assertEqual(json.loads(osproxy("config", "show", "-c", self.config(json.dumps(shown)))[0]), shown)

    def test_the_users_own_file_is_read_as_the_user(self):
        with TemporaryUser() as user:
            folder = f"{user.home}/.config/osproxy"
            os.makedirs(folder)
            with open(f"{folder}/config.json", "w") as file:
                file.write('{\n"detail": 2,\n"prots": "80"}')
            expected = f"osproxy: {folder}/config.json:3: prots: unknown key; did you mean ports?\n"
            environment = {**os.environ, **user.environment}
            for words in (["config", "check"], ["config", "show"], ["rules"], ["run", "curl"], ["exec", "--", "true"]):
                self.assertEqual(osproxy(*words, code=1, env=environment), ("", expected), words)
            self.assertNotIn("osproxy", world.tables())

    def test_what_the_user_may_not_read_is_not_read(self):
        path = self.config("{}")
        os.chmod(path, 0o600)
        self.addCleanup(os.unlink, path)
        with TemporaryUser() as user:
            for words in (["config", "check"], ["config", "show"], ["rules"], ["who"], ["ca", "show"], ["run", "curl"]):
                printed = osproxy(*words, "-c", path, code=1, env={**os.environ, **user.environment})
                self.assertEqual(printed, ("", f"osproxy: --config: cannot read {path}: Permission denied\n"), words)

    def test_files_that_a_run_reads_are_read(self):
        missing = {"cert": "client-certs[0].cert: cannot read /no/such.pem: No such file or directory",
                   "upstream-ca": "--upstream-ca: cannot read /no/such.pem: No such file or directory"}
        cases = [({"client-certs": [{"host": "a.test", "cert": "/no/such.pem"}]}, missing["cert"]),
                 ({"upstream-ca": "/no/such.pem"}, missing["upstream-ca"]),
                 ({"client-certs": [{"host": "a.test", "cert": f"{world.dir}/origin.pem"}]},
                  f"client-certs[0].key: there is no private key in PEM form in {world.dir}/origin.pem; name the file with the key as \"key\"")]
        for options, problem in cases:
            path = self.config(json.dumps(options))
            for words in (["config", "check"], ["run", "curl", "--ca-dir", world.ca_dir, "--allow-untrusted"]):
                self.assertEqual(osproxy(*words, "-c", path, code=1), ("", f"osproxy: {problem}\n"), words)
        good = {"host": "a.test", "cert": f"{world.dir}/origin.pem", "key": f"{world.dir}/origin.key"}
        path = self.config(json.dumps({"client-certs": [good], "upstream-ca": f"{world.dir}/ca.pem"}))
        self.assertEqual(osproxy("config", "check", "-c", path), (f"{path} is good\n", ""))
        self.assertEqual(osproxy("config", "check", path), (f"{path} is good\n", ""))

    def test_errors_name_file_line_and_key(self):
        cases = {
            '{\n"rules": [{"action": "pass"},\n{"action": "pass", "host": "a:1"}]}': "3: rules[1].host: 'a:1' is not a host; ",
            '{"filter": "~("}': "1: filter: filter '~(': item 1 ('~(') is not a regular expression: missing ): (",
            '{"exclude": "10.0.0.1/8"}': "1: exclude: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8",
            '{"detail": 1,}': "1: syntax error ",
        }
        for text, expected in cases.items():
            path = self.config(text)
            for words in (["config", "check", "-c", path], ["-c", path, "curl"]):
                out, errors = osproxy(*words, code=1)
                self.assertEqual(out, "")
                self.assertTrue(errors.startswith(f"osproxy: {path}:{expected}"), errors)
                self.assertEqual(errors.count("\n"), 1)

    def test_all_errors_are_told_at_once(self):
        path = self.config('{"zzz": 1,\n"detail": "2",\n"rules": [{"action": "drop", "port": 0}]}')
        expected = [":1: zzz: unknown key", ":2: detail: expected a whole number, found \"2\"",
                    ":3: rules[0].action: expected intercept, pass or block, found \"drop\"", ":3: rules[0].port: '0' is not a port or a range of ports; "]
        for words in (["config", "check", "-c", path], ["-c", path, "curl"], ["exec", "-c", path, "--", "true"]):
            out, errors = osproxy(*words, code=1)
            self.assertEqual((out, len(errors.splitlines())), ("", 4), errors)
            for line, start in zip(errors.splitlines(), expected):
                self.assertTrue(line.startswith(f"osproxy: {path}{start}"), errors)


class Help(unittest.TestCase):
    def test_version(self):
        for word in ("--version", "-V"):
            out, errors = as_nobody(word)
            self.assertRegex(out, r"^osproxy \d+\.\d+\.\d+\n$")
            self.assertEqual(errors, "")

    def test_help_of_the_program_and_of_each_command(self):
        text, _ = as_nobody("--help")
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")
            page, errors = as_nobody(command, "--help")
            self.assertEqual(errors, "")
            self.assertTrue(page.startswith("usage: osproxy "), page)
            self.assertIn("exit status:", page)
            self.assertEqual(as_nobody("help", command)[0], page)

    def test_usage_errors_exit_with_2(self):
        cases = {
            ("--detial", "2"): "unknown option --detial; did you mean --detail? See osproxy run --help",
            ("https://x/",): "'https://x/' is a URL, and FILTER names programs; to see what a program gets from there: osproxy exec -- curl https://x/",
            ("curl", "-s", "https://x/"): "unknown option -s; to run a command and intercept it: osproxy exec -- curl -s https://x/; else see osproxy run --help",
            ("curl", "https://x/"): "run takes one FILTER, found 2 words; to run a command and intercept it: osproxy exec -- curl https://x/",
            ("ca",): "ca needs a word: one of create, show, export, install, uninstall, status",
            ("exec",): "exec needs a command: osproxy exec -- CMD [ARG ...]",
            ("curl,",): "filter 'curl,': item 2 is empty; expected a program, a path, a pid or a pattern",
        }
        for words, expected in cases.items():
            self.assertEqual(osproxy(*words, code=2), ("", f"osproxy: {expected}\n"))

    def test_a_reader_that_has_gone_is_none(self):
        for words in (["--help"], ["rules"]):
            reader, writer = os.pipe()
            os.close(reader)
            result = subprocess.run(world.inside([OSPROXY, *words]), stdout=writer, stderr=subprocess.PIPE, text=True)
            os.close(writer)
            self.assertEqual((result.returncode, result.stderr), (0, ""), words)

    def test_a_full_output_is_an_error(self):
        for words in (["--help"], ["rules"], ["config", "show"]):
            with open("/dev/full", "w") as full:
                result = subprocess.run(world.inside([OSPROXY, *words]), stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual((result.returncode, result.stderr), (1, "osproxy: cannot write to standard output: No space left on device\n"), words)


class Cleanup(unittest.TestCase):
    def test_nothing_to_do_and_a_live_run_is_left_alone(self):
        self.assertEqual(osproxy("cleanup"), ("nothing to clean up\n", ""))
        with Osproxy(world, "curl"):
            osproxy("cleanup")
            self.assertIn("osproxy", world.tables())
        self.assertEqual(as_nobody("cleanup", code=1),
                         ("", "osproxy: cleanup needs root to remove packet-filter rules; try: sudo osproxy cleanup\n"))

    def test_drafts_of_journals_whose_writers_have_died_are_removed(self):
        dead = subprocess.Popen(["true"])
        dead.wait()
        os.makedirs("/run/osproxy", mode=0o700, exist_ok=True)
        drafts = {pid: f"/run/osproxy/{pid}.json.{pid}.tmp" for pid in (dead.pid, os.getpid())}
        for path in drafts.values():
            with open(path, "w") as file:
                file.write("{")
            self.addCleanup(lambda path=path: os.path.exists(path) and os.unlink(path))
        self.assertEqual(osproxy("cleanup"), (f"removed the unfinished journal {drafts[dead.pid]}\n", ""))
        self.assertFalse(os.path.exists(drafts[dead.pid]))
        self.assertTrue(os.path.exists(drafts[os.getpid()]))
        self.assertEqual(osproxy("cleanup"), ("nothing to clean up\n", ""))

    def test_a_table_loaded_by_hand_is_removed(self):
        printed, _ = osproxy("rules", "--engine", "redirect")
        world.run("nft", "-f", "-", input=printed.replace("flags owner", ""))
        self.assertIn("osproxy", world.tables())
        self.assertIn("removed the table inet osproxy", osproxy("cleanup")[0])
        self.assertNotIn("osproxy", world.tables())


if __name__ == "__main__":
    main()
