"""Runs one module of end-to-end tests: `run_module.py test_http`.

These tests wait for other processes, on machines that have more to do than they can. A test that fails is run a second time, by itself,
in a process and a world of its own; the module fails if it fails again. What needed that is printed ("second try:") and listed at the
end of scripts/test: once is a starved machine, twice is a fault of the test or of osproxy. No second try where memory is at stake.
"""
import os
import subprocess
import sys
import unittest

# Of AddressSanitizer, LeakSanitizer, UBSan; and of a process that crashed.
FINAL = ("Sanitizer", "runtime error:", "SIGSEGV", "SIGABRT")


def failures(result):
    """{id: what was said} of the tests that failed, subtests as their test, a fixture as its module or class."""
    found = {}
    for test, text in [*result.failures, *result.errors]:
        test = getattr(test, "test_case", test)
        name = test.id() if isinstance(test, unittest.TestCase) else test.id().split("(")[1].rstrip(")")
        found[name] = found.get(name, "") + text
    return found


def run_once(report, names):
    """Writes to the descriptor `report` which tests failed, a line each, "! " before one that has no second try."""
    program = unittest.main(module=None, argv=["run_module", *names], exit=False, verbosity=2)
    failed = failures(program.result)
    with open(report, "w", encoding="utf-8") as out:
        for name, text in failed.items():
            out.write(("! " if any(word in text for word in FINAL) else "") + name + "\n")
    return 1 if failed else 0


def run_in_process(names):
    """The exit status, and what run_once() reported."""
    reader, writer = os.pipe()
    command = [sys.executable, *(f"-W{option}" for option in sys.warnoptions), __file__, "--once", str(writer), *names]
    with subprocess.Popen(command, pass_fds=[writer]) as child:
        os.close(writer)
        with open(reader, encoding="utf-8") as lines:
            failed = lines.read().splitlines()
    return child.returncode, failed


def main(names):
    if names[:1] == ["--once"]:
        return run_once(int(names[1]), names[2:])
    status, failed = run_in_process(names)
    if status == 0 or not failed or any(name.startswith("! ") for name in failed):
        return status
    print("second try: " + " ".join(failed), file=sys.stderr, flush=True)
    return run_in_process(failed)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
