"""scripts/cross/sources against small archives of Debian's form, served by an HTTP server of the test: files that a suite lists and its
mirror does not have, or has in another version than it says."""
import functools
import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Archive:
    """Suites of Debian's form below DIRECTORY, without signatures."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, path, content):
        path = f"{self.directory}/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def suite(self, name, sources, packages=()):
        """Each source and package is (NAME, VERSION, what its file holds; None: listed and missing). What the file is said to hold is its
        version."""
        lists = {"source/Sources": "", "binary-amd64/Packages": ""}
        for package, version, content in sources:
            upstream = version.split("-")[0]
            directory, file = f"pool/{name}/{package}", f"{package}_{upstream}.orig.tar.gz"
            said = version.encode()
            lists["source/Sources"] += (
                f"Package: {package}\nVersion: {version}\nFiles:\n {hashlib.md5(said).hexdigest()} {len(said)} {file}\n"
                f"Checksums-Sha256:\n {'0' * 64} 1 {package}_{version}.dsc\n {hashlib.sha256(said).hexdigest()} {len(said)} {file}\n"
                f" {'1' * 64} 1 {file}.asc\nDirectory: {directory}\n\n")
            if content is not None:
                self.write(f"{directory}/{file}", content)
        for package, version, content in packages:
            path, said = f"pool/{name}/{package}_{version}_all.deb", version.encode()
            lists["binary-amd64/Packages"] += (f"Package: {package}\nVersion: {version}\nFilename: {path}\nSize: {len(said)}\n"
                                               f"SHA256: {hashlib.sha256(said).hexdigest()}\n\n")
            if content is not None:
                self.write(path, content)
        release = f"Origin: Test\nSuite: {name}\nCodename: {name}\nArchitectures: amd64\nComponents: main\nDate: Sun, 29 Nov 2026 00:00:00 UTC\nSHA256:\n"
        for path, text in lists.items():
            for suffix, content in (("", text.encode()), (".gz", gzip.compress(text.encode(), mtime=0))):
                self.write(f"dists/{name}/main/{path}{suffix}", content)
                release += f" {hashlib.sha256(content).hexdigest()} {len(content)} main/{path}{suffix}\n"
        self.write(f"dists/{name}/Release", release.encode())


class Sources(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        for name in ("www", "into"):
            os.mkdir(f"{self.directory}/{name}")
        self.archive = Archive(f"{self.directory}/www")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=f"{self.directory}/www"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.address = f"http://127.0.0.1:{server.server_port}"

    def sources(self, suites, *packages):
        with open(f"{self.directory}/sources.list", "w") as file:
            for suite in suites:
                file.write(f"deb [trusted=yes arch=amd64] {self.address}/ {suite} main\ndeb-src [trusted=yes] {self.address}/ {suite} main\n")
        with open(f"{self.directory}/apt.conf", "w") as file:
            file.write('Acquire::http::Proxy::127.0.0.1 "DIRECT";\nAcquire::Retries::Delay "false";\n')
        result = subprocess.run([f"{TOP}/scripts/cross/sources", f"{self.directory}/sources.list", f"{self.directory}/into", *packages],
                                text=True, capture_output=True, timeout=120,
                                env={"PATH": os.environ["PATH"], "APT_CONFIG": f"{self.directory}/apt.conf"})
        fetched = {}
        for name in os.listdir(f"{self.directory}/into"):
            with open(f"{self.directory}/into/{name}", "rb") as file:
                fetched[name] = file.read()
        return result.returncode, fetched, result.stderr

    def test_the_newest_version(self):
        self.archive.suite("old", [("zstd", "1.9-1", b"1.9-1"), ("other", "3-1", b"3-1")], [("data", "15-1", b"15-1"), ("other", "3-1", b"3-1")])
        self.archive.suite("new", [("zstd", "1.10-1", b"1.10-1")])
        self.assertEqual(self.sources(["old", "new"], "zstd", "deb:data"),
                         (0, {"zstd_1.10.orig.tar.gz": b"1.10-1", "data_15-1_all.deb": b"15-1"}, ""))

    def test_missing_from_the_newest_suite(self):
        """As libzstd was on 2026-11: the list of the security suite named a file that the mirror did not have."""
        self.archive.suite("old", [("zstd", "1.5+dfsg-4", b"1.5+dfsg-4"), ("zstd", "1.4-1", b"1.4-1")])
        self.archive.suite("security", [("zstd", "1.6+dfsg-1", None)])
        status, fetched, said = self.sources(["old", "security"], "zstd")
        self.assertEqual((status, fetched), (0, {"zstd_1.5+dfsg.orig.tar.gz": b"1.5+dfsg-4"}), said)
        lines = said.splitlines()
        self.assertEqual(len(lines), 2, said)
        self.assertRegex(lines[0], f"^sources: cannot fetch zstd 1.6.dfsg-1 from {self.address}/pool/security/zstd/zstd_1.6.dfsg.orig.tar.gz: 404 .*")
        self.assertRegex(lines[1], f"^sources: fetched zstd 1.5.dfsg-4 from {self.address}/pool/old/zstd/zstd_1.5.dfsg.orig.tar.gz instead$")

    def test_the_same_version_in_two_suites(self):
        self.archive.suite("security", [("nghttp2", "1.52.0-1", None)])
        self.archive.suite("old", [("nghttp2", "1.52.0-1", b"1.52.0-1")])
        status, fetched, said = self.sources(["security", "old"], "nghttp2")
        self.assertEqual((status, fetched), (0, {"nghttp2_1.52.0.orig.tar.gz": b"1.52.0-1"}), said)

    def test_a_missing_binary_package(self):
        self.archive.suite("old", [], [("data", "14-1", b"14-1"), ("data", "15-1", None)])
        status, fetched, said = self.sources(["old"], "deb:data")
        self.assertEqual((status, fetched), (0, {"data_14-1_all.deb": b"14-1"}), said)
        self.assertRegex(said, "cannot fetch data 15-1 from .*/pool/old/data_15-1_all.deb: 404")

    def test_another_file_than_the_list_says(self):
        self.archive.suite("old", [("re2", "1-1", b"1-1")])
        self.archive.suite("new", [("re2", "2-1", b"x-1")])
        status, fetched, said = self.sources(["old", "new"], "re2")
        self.assertEqual((status, fetched), (0, {"re2_1.orig.tar.gz": b"1-1"}), said)
        self.assertRegex(said, "cannot fetch re2 2-1 from .*/pool/new/re2/re2_2.orig.tar.gz: Hash Sum mismatch")

    def test_nothing_left_to_try(self):
        """Everything else is fetched, each failure is named, and the status is that of a temporary failure."""
        self.archive.suite("old", [("zstd", "1.5-4", None), ("re2", "1-1", b"1-1")])
        self.archive.suite("new", [("zstd", "1.6-1", None)])
        status, fetched, said = self.sources(["old", "new"], "zstd", "re2", "nonesuch")
        self.assertEqual((status, fetched), (75, {"re2_1.orig.tar.gz": b"1-1"}), said)
        for words in ("zstd 1.6-1 from .*/pool/new/zstd/zstd_1.6.orig.tar.gz: 404", "zstd 1.5-4 from .*/pool/old/zstd/zstd_1.5.orig.tar.gz: 404",
                      "no suite of .*/sources.list lists nonesuch", "in any version that is listed: zstd nonesuch"):
            self.assertRegex(said, words)

    def test_a_suite_whose_list_is_missing(self):
        self.archive.suite("old", [("zstd", "1.5-4", b"1.5-4")])
        reason = f"{self.address}/dists/security/main/source/Sources  404"
        status, fetched, said = self.sources(["security", "old"], "zstd")
        self.assertEqual((status, fetched), (0, {"zstd_1.5.orig.tar.gz": b"1.5-4"}), said)
        self.assertRegex(said, f"^sources: not every suite's list can be fetched: E: Failed to fetch {reason}.*\n$")
        status, fetched, said = self.sources(["security", "old"], "re2")
        self.assertEqual(status, 75)
        self.assertRegex(said, f"no suite of .* lists re2\nE: Failed to fetch {reason}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
