"""Flows that were stored: what open, export and query make of files, without a run."""
import base64
import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

from harness import OSPROXY, Terminal, main, run, wait_for

SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../mitm")


def osproxy(*words, code=0, **options):
    result = subprocess.run([OSPROXY, *words], capture_output=True, text=True, timeout=120, **options)
    assert result.returncode == code, f"{words} ended with {result.returncode}\n{result.stdout}{result.stderr}"
    return result


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="osproxy-stored-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.har = f"{self.directory}/in.har"
        shutil.copy(f"{SAMPLES}/format_har_others.har", self.har)
        self.session = f"{self.directory}/s.osp"
        osproxy("import", self.har, "--save", self.session)
        self.count = int(osproxy("query", self.session, "--count").stdout)

    def path(self, name):
        return f"{self.directory}/{name}"

    def many(self, copies=13):
        """A session of thousands of flows."""
        path, big = self.path("many.osp"), self.path("many.jsonl")
        lines = osproxy("query", self.session, "-f", "jsonl").stdout
        with open(big, "w", encoding="utf-8") as file:
            file.write(lines * 2 ** copies)
        osproxy("import", big, "--save", path)
        return path


class Open(Files):
    def test_several_files_of_any_format(self):
        other = self.path("other.mitm")
        osproxy("export", self.session, "-o", other)
        shown = osproxy("open", self.session, self.har, other).stdout.splitlines()
        self.assertEqual(len(shown), 3 * self.count)
        with open(self.har, encoding="utf-8") as file:
            self.assertEqual(osproxy("open", "-", input=file.read()).stdout.count("\n"), self.count)

    def test_errors(self):
        self.assertIn("open needs a file", osproxy("open", code=2).stderr)
        result = osproxy("open", self.session, self.path("none"), code=1)
        self.assertEqual((result.stdout, result.stderr), ("", f"osproxy: cannot open {self.path('none')}: No such file or directory\n"))
        with open(self.har, encoding="utf-8") as file:
            text = file.read()
        with open(self.har, "w", encoding="utf-8") as file:
            file.write(text[:-20])
        result = osproxy("open", self.har, self.session, code=1)
        self.assertIn(f"osproxy: {self.har}: ", result.stderr)
        self.assertGreaterEqual(result.stdout.count("\n"), self.count)


class Export(Files):
    def test_by_its_ending(self):
        for name, beginning in (("a.har", '{"log"'), ("a.jsonl", '{"'), ("a.sh", "curl"), ("A.HAR", '{"log"')):
            out = self.path(name)
            self.assertEqual(osproxy("export", self.session, "-o", out).stdout, f"wrote {self.count} flows to {out}\n")
            self.assertEqual(os.stat(out).st_mode & 0o7777, 0o600)
            with open(out, encoding="utf-8") as file:
                self.assertTrue(file.read().startswith(beginning))
        out = self.path("a.mitm")
        osproxy("export", self.session, "-o", out)
        self.assertEqual(osproxy("query", out, "--count").stdout, f"{self.count}\n")
        out = self.path("named")
        osproxy("export", self.session, "~m POST", "-f", "har", "-o", out)
        self.assertEqual({entry["request"]["method"] for entry in json.load(open(out, encoding="utf-8"))["log"]["entries"]}, {"POST"})
        self.assertEqual(json.loads(osproxy("export", self.session, "-f", "har", "-o", "-").stdout)["log"]["version"], "1.2")

    def test_what_exists_stays(self):
        out = self.path("out.har")
        with open(out, "w", encoding="utf-8") as file:
            file.write("mine")
        self.assertIn("out.har exists; name another file, or add --force", osproxy("export", self.session, "-o", out, code=1).stderr)
        self.assertEqual(open(out, encoding="utf-8").read(), "mine")
        osproxy("export", self.session, "-o", out, "--force")
        self.assertEqual(len(json.load(open(out, encoding="utf-8"))["log"]["entries"]), self.count)
        self.assertIn("is FILE itself", osproxy("export", self.session, "-f", "har", "-o", self.session, "--force", code=1).stderr)

    def test_a_full_disk_and_an_interrupt(self):
        many, disk = self.many(), self.path("disk")
        os.mkdir(disk)
        run("mount", "-t", "tmpfs", "-o", "size=64k", "none", disk)
        self.addCleanup(run, "umount", disk)
        out = f"{disk}/out.har"
        with open(out, "w", encoding="utf-8") as file:
            file.write("mine")
        result = osproxy("export", many, "-o", out, "--force", code=1)
        self.assertIn("No space left on device", result.stderr)
        self.assertEqual((os.listdir(disk), open(out, encoding="utf-8").read()), (["out.har"], "mine"))
        feeder = subprocess.Popen(["sh", "-c", f"cat {self.path('many.jsonl')}; exec sleep 600"], stdout=subprocess.PIPE)
        self.addCleanup(feeder.stdout.close)
        self.addCleanup(feeder.wait)
        self.addCleanup(feeder.kill)
        process = subprocess.Popen([OSPROXY, "export", "-", "-o", self.path("late.mitm")], stdin=feeder.stdout)
        wait_for(lambda: any(name.startswith(".late.mitm.") for name in os.listdir(self.directory)), "the file in the making")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), -signal.SIGINT)
        self.assertFalse([name for name in os.listdir(self.directory) if "late" in name])

    def test_errors(self):
        self.assertIn("export needs OUT behind -o; perhaps: osproxy export a -o b", osproxy("export", "a", "b", code=2).stderr)
        self.assertIn("names no format", osproxy("export", self.session, "-o", self.path("x.xyz"), code=2).stderr)
        self.assertIn("osproxy import ", osproxy("export", self.session, "-o", self.path("x.osp"), code=2).stderr)


class Sessions(Files):
    def setUp(self):
        super().setUp()
        self.environment = {**os.environ, "XDG_STATE_HOME": self.path("state")}

    def sessions(self, *words, **options):
        return osproxy("sessions", *words, env=self.environment, **options)

    def listed(self, *words):
        return [json.loads(line) for line in self.sessions("list", *words, "-f", "jsonl").stdout.splitlines()]

    def test_list_and_rm(self):
        self.assertEqual(self.sessions("list").stdout, f"no sessions in {self.path('state')}/osproxy/sessions; run and exec make one with --save auto\n")
        for _ in range(2):
            osproxy("import", self.har, "--save", "auto", env=self.environment)
        without = self.path("none.har")
        with open(without, "w", encoding="utf-8") as file:
            json.dump({"log": {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": []}}, file)
        self.assertEqual(osproxy("import", without, "--save", "auto", env=self.environment).stdout, "there were no flows: no session is kept\n")
        first, second = self.listed()
        self.assertEqual((first["flows"], first["state"]), (self.count, "closed"))
        self.assertGreaterEqual(first["format"], 1)
        self.assertRegex(first["path"], r"/sessions/\d{8}-\d{6}-import(-2)?\.osp$")
        self.assertEqual(os.stat(os.path.dirname(first["path"])).st_mode & 0o7777, 0o700)
        name = os.path.basename(first["path"]).removesuffix(".osp")
        self.assertIn(name, self.sessions("list").stdout)
        onto = osproxy("export", name, "-f", "jsonl", "--force", "-o", first["path"], code=1, env=self.environment)
        self.assertIn("is FILE itself; name another file", onto.stderr)
        self.assertEqual(osproxy("query", name, "--count", env=self.environment).stdout, f"{self.count}\n")
        self.sessions("rm", name)
        self.assertEqual(self.listed(), [second])
        self.assertEqual([one["path"] for one in self.listed(self.session)], [self.session])
        for words, text in ((("rm", name), "cannot remove"), (("rm", self.har), "is no session of osproxy")):
            self.assertIn(text, self.sessions(*words, code=1).stderr)
        self.assertIn("sessions rm needs a session", self.sessions("rm", code=2).stderr)
        self.assertIn("unknown word 'show'", self.sessions("show", code=2).stderr)
        missing = self.sessions("list", name, second["path"], code=1)
        self.assertIn(f"osproxy: cannot find {name}: No such file or directory\n", missing.stderr)
        self.assertEqual(len(missing.stdout.splitlines()), 2)
        self.assertEqual(self.sessions("list", name, code=1).stdout, "")
        with open(second["path"], "r+b") as file:
            file.truncate(20000)
        self.assertTrue(self.listed()[0]["state"].startswith("unreadable: "), self.listed())

    def test_what_is_being_written(self):
        os.mkfifo(self.path("in"))
        writer = subprocess.Popen([OSPROXY, "import", self.path("in"), "--save", self.session], stdout=subprocess.DEVNULL)
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        with open(self.path("in"), "w", encoding="utf-8") as feed:
            feed.write(osproxy("query", self.har, "-f", "jsonl").stdout * 100)
            feed.flush()
            wait_for(lambda: self.listed(self.session)[0]["state"] == "being written", "the import")
            for words in (("rm", self.session), ("compact", self.session)):
                self.assertIn(f"another osproxy ({writer.pid}) writes to it", self.sessions(*words, code=1).stderr)
            self.assertIn("--save: ", osproxy("import", self.har, "--save", self.session, code=1).stderr)
            writer.kill()
            writer.wait()
        self.assertEqual(self.listed(self.session)[0]["state"], "closed")
        self.sessions("compact", self.session)

    def test_compact(self):
        many = self.many()
        with contextlib.closing(sqlite3.connect(many)) as session:
            session.execute("DELETE FROM flow WHERE id > 16000")
            session.commit()
        size = os.path.getsize(many)
        disk = self.path("disk")
        os.mkdir(disk)
        run("mount", "-t", "tmpfs", "-o", f"size={size + 200000}", "none", disk)
        self.addCleanup(run, "umount", disk)
        crowded = f"{disk}/s.osp"
        shutil.copy(many, crowded)
        self.assertIn("No space left on device", self.sessions("compact", crowded, code=1).stderr)
        self.assertEqual((os.listdir(disk), os.path.getsize(crowded)), (["s.osp"], size))
        self.assertRegex(self.sessions("compact", many).stdout, r"many\.osp: [\d.]+M -> [\d.]+[kM]\n")
        self.assertLess(os.path.getsize(many), size * 0.9)
        self.assertEqual(os.stat(many).st_mode & 0o7777, 0o600)
        self.assertEqual(osproxy("query", many, "--count").stdout, "16000\n")


class Query(Files):
    def test_a_second_file_is_no_filter(self):
        result = osproxy("query", self.session, self.har, code=2)
        self.assertIn(f"FILTER names a file as well: '{self.har}'; several files: osproxy open {self.session} {self.har}", result.stderr)

    def test_open_several_files(self):
        """One that has nothing to show is said, and does not keep the others back; a name that is wrong does."""
        empty = self.path("empty.har")
        with open(empty, "w", encoding="utf-8"):
            pass
        result = osproxy("open", empty, self.session, "/etc/hostname", code=1)
        self.assertEqual(result.stdout, osproxy("open", self.session).stdout)
        self.assertRegex(result.stderr, rf"^osproxy: {empty}: .*\nosproxy: /etc/hostname: .*\n$")
        result = osproxy("open", self.session, "~c 404", code=1)
        self.assertEqual((result.stdout, result.stderr), ("", "osproxy: cannot open ~c 404: No such file or directory; if it is a filter: "
                                                              f"osproxy open {self.session} --view '~c 404'\n"))
        self.assertIn("--bodies does not go with 'open'; it goes with: run, exec, query, export", osproxy("open", self.session, "--bodies", "1k", code=2).stderr)
        self.assertIn("FILTER: ", osproxy("query", self.session, "~c 40x", code=2).stderr)
        self.assertIn("--view: ", osproxy("open", self.session, "--view", "~c 40x", code=2).stderr)

    def test_bodies_are_as_long_as_they_may_be(self):
        for limit, body, cut in (("3", b"a=1", True), ("7", b"a=1&b=2", False)):
            found = json.loads(osproxy("query", self.session, "~d d.test", "-f", "jsonl", "-b", limit).stdout)
            self.assertEqual((base64.b64decode(found["request_body"]), found["request_body_cut"], found["request_bytes"]), (body, cut, 7))

    def test_fields(self):
        osproxy("import", f"{SAMPLES}/format_har_chrome.har", "--save", self.session)
        self.count += 1
        shown = osproxy("query", self.session, "--fields", "method,status,req.header[\"host\"],failed").stdout.splitlines()
        self.assertEqual(shown[0], 'method\tstatus\treq.header["host"]\tfailed')
        self.assertEqual(len(shown), self.count + 1)
        self.assertIn("GET\t304\tb.test\tfalse", shown)
        lines = [json.loads(line) for line in osproxy("query", self.session, "--fields", "url,status,duration,http", "-f", "jsonl").stdout.splitlines()]
        self.assertEqual([list(line) for line in lines], [["url", "status", "duration", "http"]] * self.count)
        self.assertIn({"url": "https://a.test/x?y=%20#z", "status": 200, "duration": 16.5, "http": True}, lines)
        self.assertIn({"url": "http://c.test/", "status": None, "duration": None, "http": True}, lines)
        rows = list(csv.reader(osproxy("query", self.session, "~d a.test", "--fields", "url,status", "-f", "csv").stdout.splitlines()))
        self.assertEqual(rows, [["url", "status"], ["https://a.test/x?y=%20#z", "200"]])
        for fields, text in (("statsu", "unknown field 'statsu'; did you mean status?"), ("json", "'json' needs a key"), ("url,", "unknown field ''")):
            self.assertIn(text, osproxy("query", self.session, "--fields", fields, code=2).stderr)
        self.assertIn("text, jsonl or csv", osproxy("query", self.session, "--fields", "url", "-f", "har", code=2).stderr)
        self.assertIn("--count does not go with --fields: leave one of them out", osproxy("query", self.session, "--count", "--fields", "url", code=2).stderr)
        self.assertIn("needs --fields", osproxy("query", self.session, "-f", "csv", code=2).stderr)
        osproxy("export", self.session, "~d a.test", "--fields", "url,status", "-o", self.path("rows.csv"))
        with open(self.path("rows.csv"), encoding="utf-8", newline="") as file:
            self.assertEqual(file.read(), "url,status\r\nhttps://a.test/x?y=%20#z,200\r\n")
        self.assertIn("needs --fields", osproxy("export", self.session, "-o", self.path("none.csv"), code=2).stderr)

    def test_follow(self):
        self.assertIn("no run writes it", osproxy("query", self.session, "--follow").stderr)
        for words in (("--sort", "time"), ("--count",), ("-f", "har")):
            self.assertIn("--follow ", osproxy("query", self.session, "--follow", *words, code=2).stderr)
        self.assertIn("is no session", osproxy("query", self.har, "--follow", code=1).stderr)

    def test_what_is_damaged(self):
        """Pages that are missing, or that make no sense: what is whole is there, and can be put into a new session."""
        many = self.many()
        whole = int(osproxy("query", many, "--count").stdout)
        size = os.path.getsize(many)
        for name, damage in (("cut", lambda file: file.truncate(size // 2)), ("torn", lambda file: (file.seek(size // 2), file.write(os.urandom(40 << 10)))),
                             ("short", lambda file: file.truncate(size - 100)), ("page", lambda file: file.truncate(size - 4096))):
            path, rescued = self.path(f"{name}.osp"), self.path(f"{name}-rescued.osp")
            shutil.copy(many, path)
            with open(path, "r+b") as file:
                damage(file)
            result = osproxy("query", path, "--count", code=1)
            self.assertIn("the file is damaged; the flows that are whole were read", result.stderr)
            self.assertTrue(0 < int(result.stdout) <= whole, result.stdout)
            damaged = os.path.getsize(path)
            self.assertRegex(osproxy("sessions", "compact", path, code=1).stderr, "the file is damaged; what is whole goes into another one|malformed")
            self.assertEqual(os.path.getsize(path), damaged)
            osproxy("import", path, "--save", rescued, code=1)
            self.assertEqual(osproxy("query", rescued, "--count").stdout, result.stdout)

    def test_options_in_vain(self):
        for words, text in ((("--with-secrets",), "--with-secrets does nothing here: it is for --format har"), (("-b", "1k"), "--bodies does nothing here"),
                            (("-f", "har", "-d", "2"), "--detail does nothing here"), (("--mitm-version", "17"), "--mitm-version does nothing")):
            self.assertIn(text, osproxy("query", self.session, *words).stderr)
        self.assertEqual(osproxy("query", self.session, "-f", "har", "--with-secrets").stderr, "")

    def test_no_flows_are_a_good_har(self):
        log = json.loads(osproxy("query", self.session, "~d nothing", "-f", "har").stdout)["log"]
        self.assertEqual(log["entries"], [])
        self.assertGreater(log["pages"][0]["startedDateTime"], "2026")

    def test_errors_name_what_to_type(self):
        self.assertIn('did you mean resp.header["server"]?', osproxy("query", self.session, "resp.header.server == x", code=2).stderr)
        self.assertIn("unknown command 'list'", osproxy("list", "--help", code=2).stderr)

    def test_what_shells_ask_for(self):
        def offered(*words):
            return [line.split("\t")[0] for line in osproxy("__complete", *words).stdout.splitlines()]
        self.assertIn("~c 4xx & ~m", offered("filter", "~c 4xx & ~m"))
        self.assertEqual(offered("filter", "process.na"), ["process.name"])
        self.assertIn("status ==", offered("filter", "status "))
        self.assertEqual(offered("fields", "url,process.na"), ["url,process.name"])
        self.assertEqual(offered("nothing", ""), [])

    def feed(self, fifo):
        """Writes flows to who reads `fifo`, later than a command may be silent."""
        lines = osproxy("query", self.har, "-f", "jsonl").stdout
        with open(fifo, "w", encoding="utf-8") as file:
            time.sleep(1.1)
            file.write(lines)

    def test_progress_is_for_terminals(self):
        """Of what takes longer than a second there is a line, which is gone at the end; not where nobody looks at it."""
        fifo, line = self.path("fifo"), b"\r\x1b[Kosproxy: "
        os.mkfifo(fifo)
        with Terminal([OSPROXY, "import", fifo, "--save", self.path("shown.osp")]) as terminal:
            self.feed(fifo)
            terminal.read_until(line)
            self.assertEqual(terminal.wait(), 0)
            self.assertRegex(terminal.seen, rb"^\d+ flows?[^\n]*\r\x1b\[Kadded %d flows to [^\n]*\n$" % self.count)
        with subprocess.Popen([OSPROXY, "import", fifo, "--save", self.path("quiet.osp")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self.feed(fifo)
            self.assertEqual(process.communicate(timeout=60), (f"added {self.count} flows to {self.path('quiet.osp')}\n", ""))


if __name__ == "__main__":
    main()
