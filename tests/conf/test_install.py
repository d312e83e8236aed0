"""cmake --install with DESTDIR: what lands where, and that what is installed names the prefix it was installed to."""
import os
import subprocess
import tempfile
import unittest


def installed(prefix):
    """Path below DESTDIR -> contents (bytes), and the modes."""
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run([os.environ["OSPROXY_CMAKE"], "--install", os.environ["OSPROXY_BUILD"], "--prefix", prefix],
                                env={**os.environ, "DESTDIR": directory}, text=True, capture_output=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        files = {}
        for place, _, names in os.walk(directory):
            for name in names:
                path = f"{place}/{name}"
                with open(path, "rb") as file:
                    files[path[len(directory):]] = (oct(os.stat(path).st_mode & 0o777), file.read())
        return files


FILES = {
    "bin/osproxy": "0o755",
    "share/man/man8/osproxy.8": "0o644",
    "share/man/man5/osproxy.json.5": "0o644",
    "share/bash-completion/completions/osproxy": "0o644",
    "share/zsh/site-functions/_osproxy": "0o644",
    "share/examples/osproxy/osproxy.json": "0o644",
    "share/examples/osproxy/osproxy.schema.json": "0o644",
    "share/examples/osproxy/flow.schema.json": "0o644",
    "lib/systemd/system/osproxy.service": "0o644",
}


class Install(unittest.TestCase):
    def test_files(self):
        for prefix in ("/usr/local", "/opt/osproxy"):
            files = installed(prefix)
            self.assertEqual({path: mode for path, (mode, _) in files.items()}, {f"{prefix}/{path}": mode for path, mode in FILES.items()})
            unit = files[f"{prefix}/lib/systemd/system/osproxy.service"][1].decode()
            self.assertIn(f"\nExecStart={prefix}/bin/osproxy run --config /etc/osproxy/config.json\n", unit)
            self.assertIn(f"{prefix}/share/examples/osproxy/osproxy.json", files[f"{prefix}/share/man/man5/osproxy.json.5"][1].decode())
            manual = files[f"{prefix}/share/man/man8/osproxy.8"][1].decode()
            self.assertIn("/usr/local/etc/osproxy.pf.conf", manual)  # where `rules --into` looks, whatever the prefix
            self.assertIn("/usr/local/etc/ssl/certs", manual)
            if prefix != "/usr/local":
                self.assertNotIn("/usr/local", unit)
            self.assertEqual(files[f"{prefix}/bin/osproxy"][1][:4], b"\x7fELF")


if __name__ == "__main__":
    unittest.main(verbosity=2)
