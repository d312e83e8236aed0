"""Connections that begin in plain and change to TLS: real servers, real programs."""
import hashlib
import os
import unittest

import mail_and_data_servers as servers
from harness import Osproxy, V4, World, main, wait_for

world = None
inbox = None
PROGRAMS = "=curl,=openssl,=psql,=ldapsearch,=mariadb"
HAS_POSTFIX = os.path.exists("/usr/lib/postfix/sbin/master")  # not on a machine with another mail server: scripts/deps leaves that alone
with_smtp = unittest.skipUnless(HAS_POSTFIX, "postfix is not installed")
PSQL = max(os.path.join(top, "psql") for top, _, files in os.walk("/usr/lib/postgresql") if "psql" in files)


def setUpModule():
    global world, inbox
    world = World(nginx=False)
    if HAS_POSTFIX:
        inbox = servers.start_postfix(world)
    servers.start_dovecot(world)
    servers.start_vsftpd(world)
    servers.start_slapd(world)
    servers.start_postgresql(world, 5432)
    servers.start_postgresql(world, 5433, tls=False)
    servers.start_mariadb(world)


def tearDownModule():
    world.close()


def curl(url, *more, trust="osproxy", **options):
    """Over TLS or not at all."""
    return world.curl(url, "--ssl-reqd", *resolve(url), *more, trust=trust, **options)


def resolve(url):
    scheme, host = url.split("/")[0], url.split("/")[2].split("@")[-1]
    ports = {"smtp:": 25, "imap:": 143, "pop3:": 110, "ftp:": 21}
    return ["--resolve", f"{host}:{ports[scheme]}:{V4[0]}"]


def psql(statement, host="one.test", port=5432, mode="verify-full", trust="osproxy", **options):
    where = f"host={host} hostaddr={V4[0]} port={port} user=me dbname=postgres sslmode={mode} sslrootcert={world.trusting(trust)}"
    return world.run(PSQL, "-XAtq", where, "-c", statement, **options)


def send_mail(subject, **options):
    path = servers.write(f"{world.dir}/message", f"Subject: {subject}\n\nWords of the mail.\n")
    return curl("smtp://one.test", "--mail-from", "me@one.test", "--mail-rcpt", "you@one.test", "-T", path, **options)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Decrypted(unittest.TestCase):
    def check(self, osproxy, protocol, **wanted):
        flow = osproxy.wait_for_flow(type="tcp", starttls=protocol, **wanted)
        self.assertEqual((flow["tls"]["version"], flow["error"], flow["decision"]), ("TLSv1.3", None, "intercept"))
        start = osproxy.flows(event="start", conn=flow["conn"])
        self.assertEqual([(one["id"], one["starttls"]) for one in start], [(flow["id"], None)])
        return flow

    @with_smtp
    def test_smtp_mail_is_delivered_and_seen(self):
        pcap = f"{world.dir}/smtp.pcap"
        with Osproxy(world, PROGRAMS, "--pcap", pcap) as osproxy:
            send_mail("over TLS")
            flow = self.check(osproxy, "smtp", process_name="curl")
            self.assertEqual((flow["host"], flow["sni"]), ("one.test", "one.test"))
        wait_for(lambda: os.path.exists(inbox) and b"Subject: over TLS" in read(inbox), "the mail's delivery")
        self.assertIn(b"with ESMTPS", read(inbox))  # postfix heard it in TLS
        seen = read(pcap)
        for words in (b"220 one.test ESMTP", b"STARTTLS\r\n", b"MAIL FROM:<me@one.test>", b"Words of the mail."):
            self.assertIn(words, seen)

    def test_imap_and_pop3(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            self.assertIn("INBOX", curl(f"imap://me:{servers.PASSWORD}@one.test/").stdout)
            self.check(osproxy, "imap")
            curl(f"pop3://me:{servers.PASSWORD}@one.test/")
            self.check(osproxy, "pop3")

    def test_ftp_commands_and_data(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            self.assertEqual(curl("ftp://one.test/readme").stdout, "read over TLS\n")
            self.check(osproxy, "ftp")
            data = osproxy.wait_for_flow(type="tcp", starttls=None)  # TLS from its first byte
            self.assertEqual(data["response_bytes"], len("read over TLS\n"))

    def test_ldap(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            answer = world.run("ldapsearch", "-ZZ", "-x", "-LLL", "-H", f"ldap://{V4[0]}", "-b", "", "-s", "base", "supportedLDAPVersion",
                               env={**os.environ, "LDAPTLS_CACERT": world.trusting("osproxy")})
            self.assertIn("supportedLDAPVersion: 3", answer.stdout)
            self.check(osproxy, "ldap", process_name="ldapsearch")

    def test_mysql(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            answer = world.run("mariadb", "--no-defaults", "-h", V4[0], "-u", "me", "--ssl", f"--ssl-ca={world.trusting('osproxy')}",
                               "-Ne", "select 6*7; show status like 'Ssl_version'")
            self.assertEqual(answer.stdout.split(), ["42", "Ssl_version", "TLSv1.3"])
            self.check(osproxy, "mysql", process_name="mariadb")  # both ends close without close_notify: that is no error

    def test_postgresql(self):
        pcap = f"{world.dir}/postgresql.pcap"
        with Osproxy(world, PROGRAMS, "--pcap", pcap) as osproxy:
            encrypted = "select 6*7, ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
            for mode in ("require", "verify-full"):
                self.assertEqual(psql(encrypted, mode=mode).stdout, "42|t|TLSv1.3\n")
            flow = osproxy.wait_for_flows(2, starttls="postgresql")[1]
            self.assertEqual(self.check(osproxy, "postgresql", id=flow["id"])["sni"], "one.test")
        question = b"Q" + (len(encrypted) + 5).to_bytes(4, "big") + encrypted.encode() + b"\0"
        self.assertEqual(read(pcap).count(question), 2)  # psql's arguments have its text as well

    def test_postgresql_much_data_both_ways(self):
        much = "copy (select i, md5(i::text) from generate_series(1, 300000) i) to stdout"
        expected = psql(much, trust="origin").stdout
        self.assertGreater(len(expected), 11_000_000)
        up = f"{world.dir}/up.sql"
        with open(up, "w") as file:
            file.write("create temp table t (i int, h text);\ncopy t from stdin;\n" + expected + "\\.\n" + "select md5(string_agg(h, '' order by i)) from t;\n")
        whole = hashlib.md5("".join(line.split("\t")[1] for line in expected.splitlines()).encode()).hexdigest()
        with Osproxy(world, PROGRAMS) as osproxy:
            self.assertEqual(hashlib.md5(psql(much).stdout.encode()).digest(), hashlib.md5(expected.encode()).digest())
            where = f"host=one.test hostaddr={V4[0]} user=me dbname=postgres sslmode=require"
            self.assertEqual(world.run(PSQL, "-XAtq", where, "-f", up).stdout.strip(), whole)
            flows = osproxy.wait_for_flows(2, starttls="postgresql")
            self.assertGreater(flows[0]["response_bytes"], len(expected))
            self.assertGreater(flows[1]["request_bytes"], len(expected))

    def test_openssl_is_shown_a_leaf_of_ours_in_every_protocol(self):
        ports = {"imap": 143, "pop3": 110, "ftp": 21, "ldap": 389, "postgres": 5432, "mysql": 3306}
        if HAS_POSTFIX:
            ports["smtp"] = 25
        with Osproxy(world, PROGRAMS) as osproxy:
            for protocol, port in ports.items():
                shown = world.run("openssl", "s_client", "-starttls", protocol, "-connect", f"{V4[0]}:{port}", "-servername", "two.test",
                                  "-verify_hostname", "two.test", "-verify_return_error", "-CAfile", world.trusting("osproxy"), input="")
                self.assertIn("Verify return code: 0 (ok)", shown.stdout, protocol)
                self.assertIn("osproxy", shown.stdout, protocol)
                self.check(osproxy, {"postgres": "postgresql"}.get(protocol, protocol), sni="two.test")


class NotDecrypted(unittest.TestCase):
    def test_a_server_without_tls_goes_on_in_plain(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            self.assertEqual(psql("select 6*7", port=5433, mode="prefer").stdout, "42\n")
            refused = psql("select 6*7", port=5433, mode="require", check=False)
            self.assertIn("server does not support SSL", refused.stderr)
            flows = osproxy.wait_for_flows(2, type="tcp")
            self.assertEqual([(flow["starttls"], flow["tls"], flow["error"]) for flow in flows], [(None, None, None)] * 2)

    def test_programs_that_do_not_ask_stay_plain(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            self.assertEqual(psql("select 6*7", mode="disable").stdout, "42\n")
            answer = world.run("mariadb", "--no-defaults", "-h", V4[0], "-u", "me", "--skip-ssl", "-Ne", "select 6*7")
            self.assertEqual(answer.stdout, "42\n")
            flows = osproxy.wait_for_flows(2, type="tcp")
            self.assertEqual([(flow["starttls"], flow["tls"]) for flow in flows], [(None, None)] * 2)

    def test_a_program_that_does_not_trust_us(self):
        with Osproxy(world, PROGRAMS) as osproxy:
            refused = psql("select 1", trust="origin", check=False)
            self.assertIn("certificate verify failed", refused.stderr)
            self.assertEqual(curl("imap://me:any@one.test/", trust="origin", check=False).returncode, 60)
            for protocol in ("postgresql", "imap"):
                flow = osproxy.wait_for_flow(type="tls_error", starttls=protocol)
                self.assertIn("does not trust osproxy's CA", flow["error"])

    def test_a_server_that_we_do_not_trust(self):
        with Osproxy(world, PROGRAMS, upstream_ca=False) as osproxy:
            self.assertNotEqual(psql("select 1", mode="require", check=False).returncode, 0)
            self.assertIn("cannot be verified", osproxy.wait_for_flow(type="tls_error", starttls="postgresql")["error"])

    def test_rules_on_hosts(self):
        path = servers.write(f"{world.dir}/rules.json", '{"rules": [{"host": "two.test", "action": "pass"}, {"host": "*.blocked.test", "action": "block"}]}')
        with Osproxy(world, PROGRAMS, "--config", path) as osproxy:
            self.assertEqual(psql("select 6*7", host="two.test", trust="origin").stdout, "42\n")
            flow = osproxy.wait_for_flow(type="pass", starttls="postgresql")
            self.assertEqual((flow["host"], flow["sni"], flow["reason"], flow["tls"]), ("two.test", "two.test", "rules[0], host two.test", None))
            self.assertNotEqual(psql("select 1", host="a.blocked.test", mode="require", check=False).returncode, 0)
            self.assertEqual(osproxy.wait_for_flow(type="block", starttls="postgresql")["host"], "a.blocked.test")
            self.assertEqual(psql("select 6*7").stdout, "42\n")
            osproxy.wait_for_flow(type="tcp", starttls="postgresql")

    def test_a_rule_on_a_host_selects_a_program_that_passes_otherwise(self):
        path = servers.write(f"{world.dir}/select.json", '{"rules": [{"process": "=psql", "host": "two.test", "action": "intercept"}]}')
        pcap = f"{world.dir}/select.pcap"
        with Osproxy(world, "=curl", "--config", path, "--pcap", pcap) as osproxy:
            self.assertEqual(psql("select 'seen'", host="two.test").stdout, "seen\n")
            flow = osproxy.wait_for_flow(type="tcp", starttls="postgresql")
            self.assertEqual((flow["host"], flow["reason"]), ("two.test", "rules[0], host two.test"))
            self.assertEqual(psql("select 'unseen'", trust="origin").stdout, "unseen\n")
            self.assertEqual(psql("select 'unseen'", mode="disable").stdout, "unseen\n")
            flows = osproxy.wait_for_flows(2, type="pass", process_name="psql")
            self.assertCountEqual([(one["starttls"], one["tls"]) for one in flows], [("postgresql", None), (None, None)])
        self.assertIn(b"seen", read(pcap))
        self.assertNotIn(b"unseen", read(pcap))


if __name__ == "__main__":
    main()
