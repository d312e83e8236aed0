"""The README's first command: the demonstration, from any directory and again, and `scripts/run` for those who are not root."""
import glob
import os
import shutil
import subprocess
import tempfile
import unittest

from harness import OSPROXY, TOP, main, run

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def left_behind():
    """What a demonstration makes, as it is now."""
    return {
        "namespaces": [line for line in run("ip", "netns", "list").stdout.splitlines() if line.startswith("osproxy-demo")],
        "files": glob.glob("/tmp/osproxy-demo-*"),
        "tables": [line for line in run("nft", "list", "tables").stdout.splitlines() if "osproxy" in line],
    }


class Demonstration(unittest.TestCase):
    def test_twice_from_another_directory(self):
        before = left_behind()
        for _ in range(2):
            result = subprocess.run([f"{TOP}/scripts/demo", OSPROXY], cwd="/", text=True, capture_output=True, timeout=120)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertRegex(result.stdout, r"(?m)^(\d\d:){2}\d\d curl\[\d+\] GET https://demo\.test/hello → 200 OK")
            self.assertEqual(result.stdout.count("only curl and demo.test know this"), 2, result.stdout)
            self.assertIn("== curl's request was decrypted; its rules, namespaces and files are gone again\n", result.stdout)
            self.assertEqual(left_behind(), before)

    def test_a_program_that_sees_nothing_is_a_failure(self):
        before = left_behind()
        result = subprocess.run([f"{TOP}/scripts/demo", "/bin/true"], cwd="/", text=True, capture_output=True, timeout=120)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertEqual(left_behind(), before)


class Run(unittest.TestCase):
    """In a tree that looks as if root had built osproxy in it: nobody may run what is there, and is told when it is out of date."""

    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="osproxy-run-")
        self.addCleanup(shutil.rmtree, self.top)
        os.chmod(self.top, 0o755)
        shutil.copytree(f"{TOP}/scripts", f"{self.top}/scripts")
        for name in ("CMakeLists.txt", "CMakePresets.json", "base/x.cpp", "pfctl/x.cpp", "procmap/x.cpp", "divert/x.cpp", "mitm/x.cpp", "mitm/README.md"):
            os.makedirs(os.path.dirname(f"{self.top}/{name}"), exist_ok=True)
            open(f"{self.top}/{name}", "w").close()
            os.utime(f"{self.top}/{name}", (1e9, 1e9))
        os.makedirs(f"{self.top}/build/release")
        self.program = f"{self.top}/build/release/osproxy"
        with open(self.program, "w") as file:
            file.write('#!/bin/sh\necho "ran: $*"\n')
        os.chmod(self.program, 0o755)

    def as_nobody(self):
        return run(*NOBODY, f"{self.top}/scripts/run", "who", ":443", cwd="/", check=False)

    def test_what_root_has_built_is_run(self):
        os.utime(f"{self.top}/mitm/README.md")
        result = self.as_nobody()
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "ran: who :443\n", ""))

    def test_what_is_out_of_date_is_said(self):
        complaint = f"run: osproxy has to be built, and {self.top}/build belongs to another user; try: sudo {self.top}/scripts/run who :443\n"
        os.utime(self.program, (1e9 - 9, 1e9 - 9))
        result = self.as_nobody()
        self.assertEqual((result.returncode, result.stdout, result.stderr), (1, "", complaint))
        os.unlink(self.program)
        result = self.as_nobody()
        self.assertEqual((result.returncode, result.stdout, result.stderr), (1, "", complaint))


if __name__ == "__main__":
    main()
