"""What administrators and other programs do to the packet filter during a run: it goes on, and what stands in its way is said."""
import contextlib
import subprocess
import unittest

from harness import FLUSH_CONNTRACK, PATIENCE, Osproxy, World, main, wait_for
from test_lifecycle import DRIP, READER

world = None

# As firewalld and the like put their rules in force again: everything of theirs anew, in one transaction.
RELOAD = """
table inet firewalld
delete table inet firewalld
table inet firewalld {
  chain input { type filter hook input priority 10; ct state established,related accept; iif lo accept; }
  chain output { type filter hook output priority 10; ct state established,related accept; oif lo accept; }
  chain nat { type nat hook output priority -90; }
}
"""


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def quiet(*command, **options):
    return world.run(*command, check=False, **options).returncode


class Others(unittest.TestCase):
    def is_intercepted(self, osproxy, count):
        self.assertEqual(world.curl("http://one.test/").stdout, "hello from one.test\n")
        self.assertEqual(len(osproxy.wait_for_flows(count, type="http")), count)

    def test_rules_stand_whatever_is_flushed(self):
        doings = {
            "flush ruleset": lambda: world.run("nft", "flush", "ruleset"),
            "delete table": lambda: self.assertNotEqual(quiet("nft", "delete", "table", "inet", "osproxy"), 0),
            "flush table": lambda: self.assertNotEqual(quiet("nft", "flush", "table", "inet", "osproxy"), 0),
            "iptables-legacy": lambda: [quiet("iptables-legacy", "-t", table, "-F") for table in ("filter", "nat", "mangle", "raw")],
            "iptables-nft": lambda: [quiet("iptables-nft", "-t", table, "-F") for table in ("filter", "nat", "mangle", "raw")],
            "reload": lambda: world.run("nft", "-f", "-", input=RELOAD),
            "reload again": lambda: world.run("nft", "-f", "-", input=RELOAD),
            "conntrack": lambda: world.run("/usr/bin/python3", "-c", FLUSH_CONNTRACK),
        }
        for engine in ("packet", "redirect"):
            with self.subTest(engine), Osproxy(world, "curl", "--engine", engine) as osproxy:
                table = world.run("nft", "list", "table", "inet", "osproxy").stdout
                for count, (name, do) in enumerate(doings.items(), 1):
                    with self.subTest(name):
                        do()
                        self.assertEqual(world.run("nft", "list", "table", "inet", "osproxy").stdout, table)
                        self.is_intercepted(osproxy, count)
                self.assertNotIn("in force again", osproxy.stderr())
            quiet("nft", "delete", "table", "inet", "firewalld")

    def test_a_flush_of_connection_tracking_hides_no_loss(self):
        """A connection that was diverted goes on when its next packet is redirected as a first one would be (redirect engine), or ends with an
        error: never as if all had been said."""
        drip = world.python(DRIP, where=world.origin, stdout=subprocess.PIPE, text=True)
        self.addCleanup(drip.kill)
        drip.stdout.readline()
        blocks = 100  # an answer that ends with its connection: whoever loses the rest of it sees nothing but how that ended
        whole = f"FIN {blocks * 1000 + len('HTTP/1.0 200 OK..--')}\n"
        for engine in ("packet", "redirect"):
            with self.subTest(engine), Osproxy(world, "python", "--ports", "8010", "--engine", engine):
                program = world.python(READER, blocks, 5, stdout=subprocess.PIPE, text=True)
                self.assertEqual(program.stdout.readline(), "reading\n")
                world.run("/usr/bin/python3", "-c", FLUSH_CONNTRACK)
                heard = program.communicate(timeout=PATIENCE * 2)[0]
                # One that only reads sends nothing that could be answered with a reset.
                self.assertTrue(heard == whole or heard.split()[0] in ("ECONNRESET", "timeout"), heard)

    def told(self, osproxy, line, do, undo):
        before = osproxy.stderr().count(line)
        do()
        try:
            wait_for(lambda: osproxy.stderr().count(line) > before, line)
        finally:
            undo()
        wait_for(lambda: any("no longer: " in said and line in said for said in osproxy.stderr().splitlines()), "its end")

    def test_what_keeps_rules_from_their_work_is_said(self):
        def table(text):
            return lambda: world.run("nft", "-f", "-", input=f"table ip rival {{ {text}\n}}\n"), lambda: world.run("nft", "delete", "table", "ip", "rival")
        for engine in ("packet", "redirect"):
            with self.subTest(engine), Osproxy(world, "curl", "--engine", engine) as osproxy:
                self.told(osproxy, "ip rival out (priority -110) translates before osproxy",
                          *table("chain out { type nat hook output priority -110; tcp dport 80 counter; }"))
                self.told(osproxy, "ip rival takes packets out of connection tracking",
                          *table("chain out { type filter hook output priority -300; udp dport 53 notrack; }"))
                self.told(osproxy, "the device lo is down", lambda: world.run("ip", "link", "set", "lo", "down"), lambda: world.run("ip", "link", "set", "lo", "up"))
                self.told(osproxy, "looks at the bit 0x10000000 of packet marks",
                          lambda: world.run("ip", "rule", "add", "fwmark", "0x10000000/0x10000000", "priority", "77", "lookup", "main"),
                          lambda: world.run("ip", "rule", "del", "priority", "77"))
                self.is_intercepted(osproxy, 1)

    def test_the_first_line_tells_what_was_there_before(self):
        with contextlib.ExitStack() as stack:
            world.run("nft", "-f", "-", input="table inet theirs { chain out { type filter hook output priority 0; meta cgroup 7 drop; }\n}\n")
            stack.callback(world.run, "nft", "delete", "table", "inet", "theirs")
            with Osproxy(world, "curl") as osproxy:
                first = next(line for line in osproxy.stderr().splitlines() if "capturing" in line)
                self.assertIn("rules by cgroup in inet theirs judge osproxy's cgroup", first)
                self.is_intercepted(osproxy, 1)


if __name__ == "__main__":
    main()
