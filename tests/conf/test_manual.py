"""The manual pages: mandoc finds nothing to warn of, and shows what it should."""
import os
import subprocess
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = ["man/osproxy.8", "man/osproxy.json.5"]


def mandoc(*arguments):
    return subprocess.run(["mandoc", *arguments], text=True, capture_output=True, timeout=60, cwd=TOP)


class Manual(unittest.TestCase):
    def test_lint(self):
        for page in PAGES:
            result = mandoc("-T", "lint", "-W", "warning", page)
            self.assertEqual((result.returncode, result.stdout + result.stderr), (0, ""), page)

    def test_headers_name_no_other_system(self):
        """groff's mdoc calls every manual BSD's, man-db's with it; mandoc calls none so."""
        for page, volume in ((PAGES[0], "System Manager's Manual"), (PAGES[1], "File Formats Manual")):
            for words in (["groff", "-mandoc", "-Tascii", page], ["mandoc", "-T", "ascii", page]):
                head = subprocess.run(words, text=True, capture_output=True, timeout=60, cwd=TOP).stdout.split("\n")[0]
                self.assertIn(volume, head, words)
                self.assertNotIn("BSD", head, words)

    def test_text(self):
        program = mandoc("-T", "ascii", "-O", "width=78", PAGES[0])
        self.assertEqual(program.stderr, "")
        text = subprocess.run(["col", "-bx"], input=program.stdout, text=True, capture_output=True).stdout
        for part in ("OSPROXY(8)", "osproxy exec [options] -- CMD [ARG ...]", "--listen-port PORT", "-f, --format text | jsonl",
                     "Default: `both'.", "Goes with run, exec, rules.", "/var/lib/osproxy/root-ca.key", "osproxy.json(5)"):
            self.assertIn(part, text)
        self.assertNotRegex(text, r"@[A-Za-z_]+@")
        keys = subprocess.run(["col", "-bx"], input=mandoc("-T", "ascii", PAGES[1]).stdout, text=True, capture_output=True).stdout
        for part in ("detail: number", "From 0 to 4.", "One of text | jsonl.", "rules: list of objects", "Default: `false'."):
            self.assertIn(part, " ".join(keys.split()))  # wherever the lines end


if __name__ == "__main__":
    unittest.main(verbosity=2)
