"""What one can ask of TLS: client certificates, a key log, ciphers, versions; and what is said of bad certificates."""
import json
import os
import pwd
import subprocess
import unittest

from harness import OSPROXY, V4, Osproxy, TemporaryUser, World, main, wait_for
from tls_servers import PORTS, Hello, https, packets, start_nginx

SSL_CONNECT_ERROR = 35  # curl's

world = None


def setUpModule():
    global world
    world = World()
    start_nginx(world)
    wait_for(lambda: https(world, 7007, "-k", check=False).returncode == 0, "the TLS servers")


def tearDownModule():
    world.close()


def config(**options):
    path = f"{world.dir}/config-{len(os.listdir(world.dir))}.json"
    with open(path, "w") as file:
        json.dump(options, file)
    return path


def certificate(host, name, **more):
    return {"host": host, "cert": f"{world.dir}/{name}.pem", "key": f"{world.dir}/{name}.key", **more}


# port: the alert that the program gets, and what is told of it; --upstream-ca where it would help.
BAD = {
    7001: ["certificate expired", "certificate has expired (on 2021-01-01 00:00 UTC; this machine's clock says"],
    7002: ["bad certificate", "certificate is not yet valid (only from 2090-01-01 00:00 UTC; this machine's clock says"],
    7003: ["bad certificate", "hostname mismatch (it is for other.test, *.other.test)"],
    7004: ["unknown ca", "self-signed certificate (CN = one.test has signed it itself)", "--upstream-ca"],
    7005: ["unknown ca", "unable to get local issuer certificate (it is signed by CN = Nobody's CA", "--upstream-ca"],
}


class Explained(unittest.TestCase):
    def test_every_kind_of_bad_certificate_is_told_in_the_flow_and_to_the_program(self):
        shown = {}
        with Osproxy(world, "curl", "--ports", PORTS) as osproxy:
            for port, (alert, *texts) in BAD.items():
                answer = https(world, port, check=False)
                expired = alert == "certificate expired"  # which curl takes for what it has found itself
                self.assertEqual(answer.returncode, 60 if expired else SSL_CONNECT_ERROR)
                self.assertIn("SSL certificate verification failed" if expired else f"alert {alert}", answer.stderr)
                flow = osproxy.wait_for_flow(type="tls_error", server=f"{V4[0]}:{port}")
                for text in [*texts, "the certificate of one.test cannot be verified: ", "--insecure"]:
                    self.assertIn(text, flow["error"])
                self.assertEqual("--upstream-ca" in flow["error"], len(texts) > 1)
                self.assertEqual(len(flow["upstream_tls"]["certificates"]), 1)
                shown[port] = flow["upstream_tls"]["certificates"][0]
        self.assertEqual(shown[7001]["not_after"][:10], "2021-01-01")
        self.assertEqual(shown[7003]["names"], ["other.test", "*.other.test"])
        self.assertEqual((shown[7005]["subject"], shown[7005]["issuer"]), ("CN = one.test", "CN = Nobody's CA"))
        self.assertEqual(shown[7004]["subject"], shown[7004]["issuer"])

    def test_every_kind_is_told_on_a_page_on_demand(self):
        with Osproxy(world, "curl", "--error-page", "always", "--ports", PORTS) as osproxy:
            for port, (_, *texts) in BAD.items():
                answer = https(world, port, "-w", "%{http_code}").stdout
                self.assertTrue(answer.endswith("502"), answer)
                flow = osproxy.wait_for_flow(status=502, url=f"https://one.test:{port}/")
                for text in [*texts, "the certificate of one.test cannot be verified: ", "--insecure"]:
                    self.assertIn(text, flow["error"])
                    self.assertIn(text, answer)
                self.assertEqual("--upstream-ca" in flow["error"], len(texts) > 1)

    def test_each_of_them_is_accepted_when_verification_is_off(self):
        with Osproxy(world, "curl", "-k", "--ports", PORTS):
            for port in range(7001, 7006):
                self.assertIn(" reused:", https(world, port, "-k").stdout)

    def test_a_server_without_tls_is_called_that(self):
        with Osproxy(world, "curl", "--ports", "80,9080") as osproxy:
            for port in (80, 9080):
                self.assertEqual(https(world, port, check=False).returncode, SSL_CONNECT_ERROR)
                error = osproxy.wait_for_flow(type="tls_error", server=f"{V4[0]}:{port}")["error"]
                self.assertIn("TLS with one.test failed: the server speaks plain HTTP on this port, not TLS (wrong version number)", error)

    def test_what_other_programs_say(self):
        """Each fails, and says more than that it failed; mitm/README.md has their words."""
        python = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
        node = "require('https').get(process.argv[1], r => {}).on('error', e => { console.error(e.message, e.code); process.exitCode = 1; })"
        words = {7001: "certificate.expired", 7003: "bad.certificate", 7005: "unknown.ca"}
        trust = {"SSL_CERT_FILE": world.trusting("osproxy"), "NODE_EXTRA_CA_CERTS": world.trusting("osproxy")}
        with Osproxy(world, "python,node", "--ports", PORTS):
            for port, alert in words.items():
                for command in (["/usr/bin/python3", "-c", python], ["node", "-e", node]):
                    result = world.run(*command, f"https://{V4[0]}:{port}/", check=False, env={**os.environ, **trust})
                    self.assertNotEqual(result.returncode, 0)
                    self.assertRegex(result.stderr.lower(), alert)


class UpstreamCa(unittest.TestCase):
    def trusted(self, *options, environment=None):
        """Of a server of the world's CA, and one of another: whether they are believed."""
        with Osproxy(world, "curl", "--ports", PORTS, *options, upstream_ca=False, environment=environment):
            return [https(world, port, check=False).returncode == 0 for port in (7009, 7005)]

    def test_it_adds_to_the_systems_or_replaces_them(self):
        ours, theirs = f"{world.dir}/ca.pem", f"{world.dir}/strangers.pem"
        system = {"SSL_CERT_FILE": ours}
        self.assertEqual(self.trusted(), [False, False])
        self.assertEqual(self.trusted(environment=system), [True, False])
        self.assertEqual(self.trusted("--upstream-ca", theirs, environment=system), [True, True])
        self.assertEqual(self.trusted("--upstream-ca-only", theirs, environment=system), [False, True])
        self.assertEqual(self.trusted("--upstream-ca", ours, "--upstream-ca-only", theirs), [True, True])

    def test_what_is_wrong_is_said_with_the_option(self):
        path = f"{world.dir}/no-pem"
        with open(path, "w") as file:
            file.write("nothing\n")
        result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--upstream-ca-only", path, check=False)
        self.assertEqual((result.returncode, result.stderr), (1, f"osproxy: --upstream-ca-only: there is no certificate in PEM form in {path}\n"))


class Versions(unittest.TestCase):
    def test_lowest_version_holds_on_both_sides(self):
        with Osproxy(world, "curl", "--tls-min", "1.3", "--ports", PORTS) as osproxy:
            self.assertIn("TLSv1.3", https(world, 7009).stdout)
            refused = https(world, 7009, "--tls-max", "1.2", check=False)
            self.assertEqual(refused.returncode, SSL_CONNECT_ERROR, refused.stderr)
            self.assertIn("unsupported protocol", osproxy.wait_for_flow(type="tls_error")["error"])
            self.assertEqual(https(world, 7008, check=False).returncode, SSL_CONNECT_ERROR)
            error = osproxy.wait_for_flows(2, type="tls_error")[1]["error"]
            self.assertIn("it was offered TLS 1.3 to 1.3: what the program offers, as far as --tls-min allows", error)

    def test_a_program_that_is_too_old_for_its_server_is_told(self):
        with Osproxy(world, "curl", "--ports", PORTS) as osproxy:
            answer = https(world, 7009, "--tls-max", "1.2", check=False)
            self.assertEqual(answer.returncode, SSL_CONNECT_ERROR)
            self.assertIn("alert protocol version", answer.stderr)  # the server's own
            self.assertIn("it was offered TLS 1.2 to 1.2", osproxy.wait_for_flow(type="tls_error")["error"])


class Ciphers(unittest.TestCase):
    def test_the_server_chooses_from_the_list(self):
        chosen = "ECDHE-ECDSA-CHACHA20-POLY1305"
        for options, port, seen in [(["--tls-ciphers", chosen], 7008, chosen), (["--tls-ciphers", f"TLS_CHACHA20_POLY1305_SHA256:{chosen}"], 7009,
                                                                               "TLS_CHACHA20_POLY1305_SHA256"), ([], 7008, "ECDHE-ECDSA-AES256-GCM-SHA384")]:
            with Osproxy(world, "curl", "--ports", PORTS, *options):
                self.assertIn(f" {seen} ", https(world, port).stdout)

    def test_a_list_that_the_server_does_not_like_is_explained(self):
        with Osproxy(world, "curl", "--ports", PORTS, "--tls-ciphers", "ECDHE-RSA-AES128-GCM-SHA256") as osproxy:
            self.assertEqual(https(world, 7008, check=False).returncode, SSL_CONNECT_ERROR)
            self.assertIn("it was offered the ciphers of --tls-ciphers", osproxy.wait_for_flow(type="tls_error")["error"])

    def test_a_program_that_knows_rsa_only_gets_what_its_server_has(self):
        with Osproxy(world, "curl", "--ports", PORTS) as osproxy:
            rsa = ["--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"]
            self.assertIn("ECDHE-RSA-AES128-GCM-SHA256", https(world, 7007, *rsa).stdout)
            self.assertEqual(osproxy.wait_for_flow(status=200)["tls"]["cipher"], "ECDHE-RSA-AES128-GCM-SHA256")
            self.assertEqual(https(world, 7008, *rsa, check=False).returncode, SSL_CONNECT_ERROR)
            self.assertIn("it was offered the ciphers of the program's own hello", osproxy.wait_for_flow(type="tls_error")["error"])

    def test_an_unknown_cipher_is_refused_at_the_start(self):
        result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--tls-ciphers", "HIGH:NO-SUCH", check=False)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--tls-ciphers: OpenSSL knows no cipher NO-SUCH; openssl ciphers -v ALL lists them", result.stderr)


class ClientCertificates(unittest.TestCase):
    def test_nginx_sees_the_one_of_its_host(self):
        path = config(**{"client-certs": [certificate("two.test", "bob"), certificate("*.test", "ann")]})
        with Osproxy(world, "curl", "--ports", PORTS, "--config", path) as osproxy:
            for version in ("1.2", "1.3"):
                self.assertIn("client:CN=Ann", https(world, 7006, "--tls-max", version).stdout)
            flows = osproxy.wait_for_flows(2, status=200)
            self.assertEqual([f["upstream_tls"]["client_certificate"] for f in flows], [f"{world.dir}/ann.pem"] * 2)
            self.assertEqual(flows[0]["tls"]["client_certificate"], f"{world.dir}/ann.pem")  # as in the first versions

    def test_without_one_nginx_refuses_and_the_flow_says_why(self):
        with Osproxy(world, "curl", "--ports", PORTS) as osproxy:
            answer = https(world, 7006, "-w", "%{http_code}").stdout
            self.assertIn("No required SSL certificate was sent", answer)
            self.assertTrue(answer.endswith("400"), answer)
            flow = osproxy.wait_for_flow(status=400)
            self.assertEqual(flow["upstream_tls"]["client_certificate"], "none")
            self.assertIn("the server asked for a client certificate and was shown none", flow["error"])
            self.assertIn("--client-cert", flow["error"])
            self.assertIn("client:\n", https(world, 7011).stdout)
            self.assertEqual(osproxy.wait_for_flow(status=200)["upstream_tls"]["client_certificate"], "none")
            https(world, 7009)
            self.assertIsNone(osproxy.wait_for_flows(2, status=200)[1]["upstream_tls"]["client_certificate"])

    def test_one_that_was_typed(self):
        d = world.dir
        for option in (f"{d}/ann.pem:{d}/ann.key", f"*.test={d}/ann.pem:{d}/ann.key"):
            with Osproxy(world, "curl", "--ports", PORTS, "--client-cert", f"else.where={d}/bob.pem:{d}/bob.key", "--client-cert", option) as osproxy:
                self.assertIn("client:CN=Ann", https(world, 7006).stdout)
                flow = osproxy.wait_for_flow(status=200)
                self.assertEqual((flow["upstream_tls"]["client_certificate"], flow["error"]), (f"{d}/ann.pem", None))
        for option, text in ((f"{d}/ann.pem", f"--client-cert: there is no private key in PEM form in {d}/ann.pem; name the file with the key: CERT:KEY\n"),
                             ("/no/such.pem", "--client-cert: cannot read /no/such.pem: No such file"),
                             ("a b=c.pem", "--client-cert: 'a b' is not a host")):
            result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--client-cert", option, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(text, result.stderr)

    def test_another_host_or_a_wrong_one(self):
        for host, name, shown, nginx_says in [("elsewhere.test", "ann", "none", "No required SSL certificate"),
                                              ("one.test", "bob", f"{world.dir}/bob.pem", "The SSL certificate error")]:
            path = config(**{"client-certs": [certificate(host, name)]})
            with Osproxy(world, "curl", "--ports", PORTS, "--config", path) as osproxy:
                self.assertIn(nginx_says, https(world, 7006).stdout)
                self.assertEqual(osproxy.wait_for_flow(status=400)["upstream_tls"]["client_certificate"], shown)

    def test_what_is_wrong_with_the_files_is_said_at_the_start(self):
        d = world.dir
        cases = [({"host": "a.test", "cert": "/no/such.pem"}, "client-certs[0].cert: cannot read /no/such.pem: No such file"),
                 ({"host": "a.test", "cert": f"{d}/ann.pem", "key": "/no/such.key"}, "client-certs[0].key: cannot read /no/such.key: No such file"),
                 (certificate("a.test", "ann", key=f"{d}/bob.key"),
                  f"client-certs[0].key: the key in {d}/bob.key is not that of the first certificate in {d}/ann.pem"),
                 ({"host": "a.test", "cert": f"{d}/ann.pem"}, f"client-certs[0].key: there is no private key in PEM form in {d}/ann.pem"),
                 (certificate("a.test:1", "ann"), "client-certs[0].host: 'a.test:1' is not a host")]
        for one, text in cases:
            result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, "--config", config(**{"client-certs": [one]}), check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(text, result.stderr)
        self.assertNotIn("osproxy", world.tables())


def secrets(path):
    """The lines of a key log, each (label, client random, secret)."""
    with open(path) as file:
        return {tuple(line.split()) for line in file if line.strip() and not line.startswith("#")}


class Keylog(unittest.TestCase):
    def setUp(self):
        for name in ("ours", "curls", "servers", "capture"):
            if os.path.exists(f"{world.dir}/{name}"):
                os.remove(f"{world.dir}/{name}")

    def test_it_has_the_secrets_that_program_and_server_have_and_a_capture_shows(self):
        d, port = world.dir, 7020
        server = world.spawn(["openssl", "s_server", "-quiet", "-www", "-port", str(port), "-cert", f"{d}/good.pem", "-key", f"{d}/good.key", "-keylogfile",
                              f"{d}/servers"], where=world.origin)
        capture = world.spawn(["tcpdump", "-i", "v0", "-U", "-Z", "root", "-w", f"{d}/capture", "tcp", "port", str(port)], where=world.origin)
        wait_for(lambda: os.path.exists(f"{d}/capture") and os.path.getsize(f"{d}/capture") >= 24, "tcpdump")
        wait_for(lambda: https(world, port, "-k", check=False).returncode == 0, "s_server")
        before = secrets(f"{d}/servers")
        with Osproxy(world, "curl", "--ports", PORTS, "--keylog", f"{d}/ours") as osproxy:
            for version in ("1.2", "1.3"):
                https(world, port, "--tls-max", version, env={**os.environ, "SSLKEYLOGFILE": f"{d}/curls"})
            osproxy.wait_for_flows(2, status=200)
        theirs = secrets(f"{d}/servers") - before
        ours = secrets(f"{d}/ours")
        self.assertEqual(ours, theirs | secrets(f"{d}/curls"))
        self.assertEqual(len({random for _, random, _ in ours}), 4)  # two connections, two sides
        self.assertEqual(sum(label == "CLIENT_RANDOM" for label, _, _ in ours), 2)
        self.assertEqual(sum(label == "CLIENT_TRAFFIC_SECRET_0" for label, _, _ in ours), 2)
        randoms = {random for _, random, _ in theirs}
        wait_for(lambda: randoms <= set(hello_randoms(f"{d}/capture")), "the hellos in the capture")
        for process in (server, capture):
            process.terminate()
            process.wait()

    def test_the_variable_names_the_file_and_the_file_is_for_its_owner_only(self):
        path = f"{world.dir}/ours"
        with open(path, "w") as file:
            file.write("CLIENT_RANDOM 00")
        os.chmod(path, 0o644)
        with Osproxy(world, "curl", "--ports", PORTS, environment={"SSLKEYLOGFILE": path}) as osproxy:
            https(world, 7009)
            osproxy.wait_for_flow(status=200)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path) as file:
            lines = file.read().splitlines()
        self.assertEqual(lines[0], "CLIENT_RANDOM 00")
        self.assertEqual(len(lines), 1 + 2 * 5)

    def test_it_belongs_to_the_user_who_typed_sudo(self):
        with TemporaryUser() as user:
            path = f"{user.home}/keys"
            with Osproxy(world, "curl", "--ports", PORTS, "--keylog", path, environment=user.environment, jsonl=False):
                https(world, 7009)
                wait_for(lambda: len(secrets(path)) == 10, "the secrets")
            self.assertEqual((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (user.uid, 0o600))

    def test_a_full_disk_is_said_once_and_interception_goes_on(self):
        with Osproxy(world, "curl", "--ports", PORTS, "--keylog", "/dev/full") as osproxy:
            for _ in range(3):
                self.assertIn("TLSv1.3", https(world, 7009).stdout)
            osproxy.wait_for_flows(3, status=200)
        said = "osproxy: --keylog /dev/full: cannot write: No space left on device; writing to it has stopped, interception goes on\n"
        self.assertEqual(osproxy.stderr().count(said), 1, osproxy.stderr())
        self.assertEqual(osproxy.stderr().count("--keylog"), 1)

    def test_a_file_that_cannot_be_used_is_an_error_at_the_start(self):
        other = f"{world.dir}/anothers"
        open(other, "w").close()
        os.chown(other, pwd.getpwnam("nobody").pw_uid, -1)
        pipe = f"{world.dir}/pipe"
        os.mkfifo(pipe)
        kept = f"{world.dir}/kept"
        with open(kept, "w") as file:
            file.write("CLIENT_RANDOM 00\n")
        for words, environment, text in [
                (["--keylog", "/no/keys"], {}, "--keylog: cannot open /no/keys: No such file"),
                ([], {"SSLKEYLOGFILE": "/no/keys"}, "SSLKEYLOGFILE: cannot open /no/keys: No such file"),
                (["--keylog", other], {}, f"--keylog: {other} belongs to another user; name a file of your own, or a new one"),
                (["--keylog", pipe], {}, f"--keylog: cannot open {pipe}: No such device"),
                (["--keylog", kept, "--output", kept], {}, "--keylog and --output or --pcap are one file"),
                (["--pcap", kept, "--output", kept], {}, "--pcap and --output are one file")]:
            result = world.run(OSPROXY, "run", "--allow-untrusted", "curl", "--ca-dir", world.ca_dir, *words, check=False, env={**os.environ, **environment})
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn(text, result.stderr)
            with open(kept) as file:
                self.assertEqual(file.read(), "CLIENT_RANDOM 00\n", words)


def hello_randoms(path):
    for payload in packets(path):
        try:
            yield Hello(payload).random
        except (ValueError, IndexError):
            continue


class Resumption(unittest.TestCase):
    def test_osproxy_resumes_with_the_server(self):
        with Osproxy(world, "curl", "--ports", PORTS, "--threads", "1"):
            for port in (7008, 7009):
                answers = [https(world, port).stdout for _ in range(3)]
                self.assertEqual(["reused:r" in answer for answer in answers], [False, True, True], answers)
            # Another kind of hello has sessions of its own.
            self.assertIn("reused:. ", https(world, 7008, "--curves", "P-256").stdout)
            self.assertIn("reused:r ", https(world, 7008, "--curves", "P-256").stdout)
            self.assertIn("reused:r ", https(world, 7008).stdout)

    def test_the_program_resumes_with_osproxy(self):
        where = ["-connect", "192.0.2.2:443", "-servername", "one.test", "-CAfile", world.trusting("osproxy"), "-verify_return_error"]
        # A program that leaves at once, again and again, would be taken for one that refuses our certificate.
        with Osproxy(world, "openssl", "--passthrough-ttl", "0"):
            shown = world.run("openssl", "s_client", *where, "-tls1_2", "-reconnect", stdin=subprocess.DEVNULL).stdout
            self.assertEqual(shown.count("\nReused, TLSv1.2"), 5, shown)
            session = f"{world.dir}/session"
            request = "GET / HTTP/1.0\r\nHost: one.test\r\n\r\n"
            first = world.run("openssl", "s_client", *where, "-tls1_3", "-ign_eof", "-sess_out", session, input=request).stdout
            self.assertIn("\nNew, TLSv1.3", first)
            second = world.run("openssl", "s_client", *where, "-tls1_3", "-ign_eof", "-sess_in", session, input=request).stdout
            self.assertIn("\nReused, TLSv1.3", second)
            self.assertIn("hello from one.test", second)


if __name__ == "__main__":
    main()
