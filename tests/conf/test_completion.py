"""conf/completion in real shells: what bash and zsh offer behind `osproxy ...`."""
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIRECTORY = os.path.join(TOP, "conf/completion")
COMMANDS = ["cleanup", "config", "ca", "doctor", "exec", "export", "help", "import", "open", "query", "rules", "run", "sessions", "who"]
PROGRAM = os.environ.get("OSPROXY", "osproxy")
VERBS = ["create", "export", "install", "show", "status", "uninstall"]


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, timeout=60, **options)


def run_good(*command, **options):
    result = run(*command, **options)
    assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


# What is typed, what must be offered, what must not. The last word is the one under the cursor.
CASES = [
    (["osproxy", "c"], ["ca", "config", "cleanup"], ["who", "run"]),
    (["osproxy", ""], COMMANDS, []),
    (["osproxy", "ca", ""], VERBS, ["check", "run"]),
    (["osproxy", "ca", "un"], ["uninstall"], ["install"]),
    (["osproxy", "ca", "install", "--"], ["--ca-dir", "--config", "--help"], ["--ports", "--wait"]),
    (["osproxy", "config", ""], ["check", "show"], ["install"]),
    (["osproxy", "help", "r"], ["rules", "run"], ["who"]),
    (["osproxy", "run", "--p"], ["--pcap", "--ports"], ["--wait"]),
    (["osproxy", "--p"], ["--pcap", "--ports"], []),
    (["osproxy", "exec", "--w"], ["--wait"], []),
    (["osproxy", "exec", "--m"], ["--mark"], ["--mode"]),
    (["osproxy", "who", "--"], ["--format"], ["--ports"]),
    (["osproxy", "run", "--family", ""], ["both", "ipv4", "ipv6"], ["run", "--ports"]),
    (["osproxy", "run", "--family", "ipv"], ["ipv4", "ipv6"], ["both"]),
    (["osproxy", "-f", "js"], ["jsonl"], ["text"]),
    (["osproxy", "--tls-min", "1."], ["1.0", "1.1", "1.2", "1.3"], []),
    (["osproxy", "-d", "2", "rul"], ["rules"], []),
    (["osproxy", "--insecure", "run", "--col"], ["--color"], []),
    (["osproxy", "exec", "--", "basen"], ["basename"], []),
    (["osproxy", "exec", "-d", "2", "basen"], ["basename"], []),
    (["osproxy", "run", "python"], ["python3"], []),
    (["osproxy", "run", "kthr"], [], ["kthreadd"]),
    (["osproxy", "sessions", ""], ["list", "rm", "compact"], ["run"]),
    (["osproxy", "query", "/dev/null", "'~c 4xx & ~"], ["~c 4xx & ~m"], ["~m", "~c 4xx & process"]),
    (["osproxy", "query", "/dev/null", "'status "], ["status =="], []),
    (["osproxy", "query", "/dev/null", "process.na"], ["process.name"], []),
    (["osproxy", "query", "/dev/null", "--fields", "url,process.na"], ["url,process.name"], []),
    (["osproxy", "run", "--view", "'process.na"], ["process.name"], []),
    (["osproxy", "--allow"], ["--allow-untrusted"], []),
]


class Bash(unittest.TestCase):
    def complete(self, words, point=None, directory="/"):
        """COMPREPLY, as bash would ask for it."""
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        script = (f"osproxy() {{ {shlex.quote(PROGRAM)} \"$@\"; }}; source {DIRECTORY}/osproxy.bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _osproxy; "
                  "printf '%s\\n' \"${COMPREPLY[@]}\"")
        return run_good("bash", "--norc", "--noprofile", "-c", script, cwd=directory).split("\n")[:-1]

    def test_words(self):
        for words, wanted, unwanted in CASES:
            with self.subTest(words=words):
                offered = self.complete(words)
                self.assertEqual([word for word in wanted if word not in offered], [])
                self.assertEqual([word for word in unwanted if word in offered], [])

    def test_the_equals_sign_is_a_word(self):
        self.assertEqual(self.complete(["osproxy", "--family", "="]), ["both", "ipv4", "ipv6"])
        self.assertEqual(self.complete(["osproxy", "--family", "=", "ipv"]), ["ipv4", "ipv6"])
        self.assertEqual(self.complete(["osproxy", "--family", "=", "ipv4", "rul"]), ["rules"])

    def test_files_are_left_to_readline(self):
        for words in (["osproxy", "-c", ""], ["osproxy", "--pcap", "x"], ["osproxy", "--pcap", "=", "x"], ["osproxy", "--ports", ""]):
            self.assertIn(self.complete(words), ([], [""]), words)
        self.assertIn("-o default", run_good("bash", "-c", f"source {DIRECTORY}/osproxy.bash; complete -p osproxy"))

    def test_directories(self):
        with tempfile.TemporaryDirectory() as directory:
            os.mkdir(f"{directory}/some")
            open(f"{directory}/file", "w").close()
            self.assertEqual(self.complete(["osproxy", "ca", "--ca-dir", ""], directory=directory), ["some"])

    def test_nothing_of_the_shell_is_changed(self):
        script = (f"f() {{ compgen -v; compgen -A function; }}; source {DIRECTORY}/osproxy.bash; f > $0.1; COMP_WORDS=(osproxy -d 1 x); "
                  "COMP_CWORD=3; _osproxy; f > $0.2; unset COMP_WORDS COMP_CWORD COMPREPLY; diff $0.1 $0.2")
        with tempfile.TemporaryDirectory() as directory:
            lines = run("bash", "--norc", "-c", script, f"{directory}/f").stdout
        left = [line for line in lines.split("\n") if line.startswith(">") and "COMP" not in line and "_=" not in line]
        self.assertEqual([line for line in left if line not in ("> _", "> PIPESTATUS")], [])

    def test_no_bash_4_words(self):
        with open(f"{DIRECTORY}/osproxy.bash") as file:
            text = file.read()
        for word in ("mapfile", "readarray", "declare -A", "local -A", "compopt", "${,,", "|&", "&>>"):
            self.assertNotIn(word, text, f"{word} is not in bash 3.2, which macOS has")

    def test_all_options_are_those_of_help(self):
        for command in COMMANDS:
            if command == "help":
                continue
            text = run_good(os.environ["OSPROXY"], command, "--help")
            options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.M))
            offered = {word for word in self.complete(["osproxy", command, "--"]) if word.startswith("--")}
            self.assertEqual(offered, options, command)


# What would be offered goes to a file, a line each; ^X asks, and says when it is through.
ZSHRC = r"""
PS1= PS2= RPS1=
fpath=(@directory@ $fpath)
autoload -Uz compinit
compinit -D -u
LISTMAX=100000
compadd() {
  # Asked by the completion system for its own use.
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)* ]]; then
    builtin compadd "$@"
    return
  fi
  local -a all
  builtin compadd -O all "$@"
  (( $#all )) && print -rl -- $all >>@offered@
  builtin compadd "$@"
}
probe() { zle list-choices; : >@done@ }
zle -N probe
bindkey '^X' probe
bindkey '^U' kill-whole-line
: >@done@
"""


class Zsh(unittest.TestCase):
    """An interactive zsh on a terminal of its own."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp()
        cls.offered, cls.done = f"{cls.directory}/offered", f"{cls.directory}/done"
        with open(f"{cls.directory}/.zshrc", "w") as file:
            file.write(ZSHRC.replace("@directory@", DIRECTORY).replace("@offered@", cls.offered).replace("@done@", cls.done))
        cls.pid, cls.terminal = pty.fork()
        if cls.pid == 0:
            os.chdir("/")
            os.execve("/usr/bin/zsh", ["zsh", "-d", "-i"], {"ZDOTDIR": cls.directory, "TERM": "dumb", "PATH": f"{os.path.dirname(PROGRAM)}:/usr/bin:/bin", "HOME": "/"})
        cls.wait_until_done()

    @classmethod
    def tearDownClass(cls):
        os.kill(cls.pid, signal.SIGKILL)
        os.waitpid(cls.pid, 0)
        os.close(cls.terminal)
        shutil.rmtree(cls.directory)

    @classmethod
    def wait_until_done(cls):
        """What zsh writes on its screen is read, or it would stop."""
        screen, end = b"", time.monotonic() + 20
        while not os.path.exists(cls.done):
            assert time.monotonic() < end, screen.decode(errors="replace")
            if select.select([cls.terminal], [], [], 0.02)[0]:
                screen += os.read(cls.terminal, 65536)
        os.remove(cls.done)

    def complete(self, words):
        open(self.offered, "w").close()
        os.write(self.terminal, b"\x15" + " ".join(words).encode() + b"\x18")
        self.wait_until_done()
        with open(self.offered) as file:
            return file.read().split("\n")[:-1]

    def test_words(self):
        for words, wanted, unwanted in CASES:
            with self.subTest(words=words):
                offered = self.complete(words)
                self.assertEqual([word for word in wanted if word not in offered], [], offered)
                self.assertEqual([word for word in unwanted if word in offered], [], offered)

    def test_values_behind_an_equals_sign(self):
        self.assertEqual(sorted(set(self.complete(["osproxy", "--family=ipv"]))), ["ipv4", "ipv6"])

    def test_files(self):
        self.assertIn("passwd", self.complete(["osproxy", "-c", "/etc/pass"]))
        self.assertNotIn("passwd", self.complete(["osproxy", "ca", "--ca-dir", "/etc/"]))

    def test_syntax(self):
        run_good("zsh", "-n", f"{DIRECTORY}/_osproxy")
        with open(f"{DIRECTORY}/_osproxy") as file:
            self.assertEqual(file.readline(), "#compdef osproxy\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
