"""`osproxy doctor`: what it says is so, because it has tried."""
import json
import os
import unittest

from harness import OSPROXY, Osproxy, World, main, status_of

world = None


def setUpModule():
    global world
    world = World(nginx=False)


def tearDownModule():
    world.close()


def ask(*words, code=0):
    result = world.run(*words, check=False)
    assert (result.returncode, result.stderr) == (code, ""), result
    return result.stdout


def doctor(*options, before=(), code=0):
    text = ask(*before, OSPROXY, "doctor", "--ca-dir", world.ca_dir, "-f", "jsonl", *options, code=code)
    return {line["check"]: line for line in map(json.loads, text.splitlines())}


CHECKS = {"privileges", "nf_tables", "packet queue", "DNS copies", "conntrack", "sock_diag", "IPv6", "cgroup v2", "descriptors", "sysctl",
          "marks", "other tables", "worker", "CA", "packet engine", "redirect engine", "engine"}


class Doctor(unittest.TestCase):
    def tearDown(self):
        self.assertNotIn("osproxy", world.tables())

    def test_all_is_well(self):
        found = doctor()
        self.assertEqual(set(found), CHECKS)
        self.assertEqual({check for check, line in found.items() if line["state"] != "ok"}, {"CA"})
        self.assertEqual(found["engine"]["detail"], "--engine auto takes packet")
        for check in ("packet engine", "redirect engine"):
            self.assertIn("the selected one alone was diverted", found[check]["detail"])

    def test_text(self):
        text = ask(OSPROXY, "doctor", "--ca-dir", f"{world.dir}/none")
        self.assertRegex(text, r"(?m)^ok       conntrack            can be asked for original destinations; \d+ of \d+ entries in use$")
        self.assertRegex(text, r"(?m)^optional CA                   not created yet in .*; the first run makes one$")
        self.assertTrue(text.endswith("\n\nosproxy can run here.\n"), text)
        world.run(OSPROXY, "ca", "create", "--ca-dir", f"{world.dir}/made")
        lines = map(json.loads, world.run(OSPROXY, "doctor", "--ca-dir", f"{world.dir}/made", "-f", "jsonl").stdout.splitlines())
        advice = {line["advice"] for line in lines if line["check"] == "CA" and line["detail"].startswith("not trusted by ")}
        self.assertEqual(advice, {f"sudo osproxy ca install --ca-dir {world.dir}/made, or use osproxy exec"})

    def test_without_root_it_says_less(self):
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        text = ask(*nobody, OSPROXY, "doctor", code=1)
        self.assertRegex(text, r"\n\nosproxy cannot run here as it should: see privileges, .* above\.\n$")
        found = doctor(before=nobody, code=1)
        self.assertEqual(found["privileges"]["state"], "blocked")
        self.assertEqual(found["engine"]["advice"], "sudo osproxy doctor")
        self.assertEqual(set(found), CHECKS - {"packet engine", "redirect engine"})

    def test_a_rival_that_redirects_first_is_named_and_proved(self):
        rules = "table ip rival {\nchain out {\ntype nat hook output priority -110;\ntcp dport 1-65535 redirect to :9\n}\n}\n"
        world.run("nft", "-f", "-", input=rules)
        self.addCleanup(world.run, "nft", "delete", "table", "ip", "rival")
        found = doctor(code=1)
        self.assertIn("ip rival out (priority -110)", found["other tables"]["detail"])
        for check in ("packet engine", "redirect engine"):
            self.assertIn("did not arrive at the listener", found[check]["detail"])
        self.assertEqual(found["engine"]["state"], "blocked")

    def test_rules_of_others_that_cannot_be_honoured(self):
        rules = "table inet theirs {\nchain out {\ntype filter hook output priority 0;\nmeta cgroup 7 drop\n}\n}\n"
        world.run("nft", "-f", "-", input=rules)
        self.addCleanup(world.run, "nft", "delete", "table", "inet", "theirs")
        found = doctor()["other tables"]
        self.assertEqual(found["state"], "blocked")
        self.assertEqual(found["detail"], "rules by cgroup in inet theirs judge osproxy's cgroup where it connects in a program's place")

    def test_routing_by_our_bit(self):
        world.run("ip", "rule", "add", "fwmark", "0x10000000/0xf0000000", "lookup", "100")
        self.addCleanup(world.run, "ip", "rule", "del", "fwmark", "0x10000000/0xf0000000", "lookup", "100")
        self.assertIn("(fwmark 0x10000000/0xf0000000)", doctor(code=1)["marks"]["detail"])
        self.assertEqual(doctor("--mark", "0x100")["marks"]["state"], "ok")

    def test_nearly_full_connection_tracking(self):
        fake = []
        for name, value in (("count", 90), ("max", 100)):
            path = f"{world.dir}/nf_conntrack_{name}"
            with open(path, "w") as file:
                file.write(f"{value}\n")
            fake += [f"mount --bind {path} /proc/sys/net/netfilter/nf_conntrack_{name}"]
        before = ["unshare", "--mount", "sh", "-c", " && ".join([*fake, 'exec "$@"']), "sh"]
        found = doctor(before=before, code=1)["conntrack"]
        self.assertEqual(found["state"], "blocked")
        self.assertIn("90 of 100 entries in use", found["detail"])
        self.assertIn("nf_conntrack_max", found["advice"])

    def test_descriptors_that_cannot_be_raised(self):
        few = ["prlimit", "--nofile=1000:1000"]
        if int(status_of(os.getpid())["CapEff"], 16) >> 24 & 1:  # CAP_SYS_RESOURCE
            self.assertEqual(doctor(before=few)["descriptors"]["state"], "ok")
        found = doctor(before=[*few, "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"])["descriptors"]
        self.assertEqual((found["state"], found["detail"]), ("blocked", "1000 open files at most"))

    def test_a_running_osproxy(self):
        with Osproxy(world, "curl", upstream_ca=False) as osproxy:
            found = doctor(code=1)
            self.assertEqual(found["nf_tables"]["detail"], f"osproxy runs already (pid {osproxy.broker()})")
            self.assertIn("another osproxy", found["redirect engine"]["detail"])

    def test_no_capability_for_the_packet_filter(self):
        found = doctor(before=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"], code=1)
        self.assertEqual(found["packet queue"]["state"], "missing")
        self.assertIn("no permission", found["packet queue"]["detail"])


if __name__ == "__main__":
    main()
