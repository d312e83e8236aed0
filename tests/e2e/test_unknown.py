"""Connections whose socket no process has under a number: io_uring's registered files, descriptors in flight."""
import unittest

from containers import new_cgroup
from harness import TOP, V4, Osproxy, World, main, run

world = None
client = None
NOBODY = 65534


def setUpModule():
    global world, client
    world = World()
    client = f"{world.dir}/ring_client"
    run("cc", "-O1", "-o", client, f"{TOP}/tests/e2e/programs/ring_client.c")
    if world.run(client, V4[0], "80", check=False).returncode == 2:
        world.close()
        raise unittest.SkipTest("this kernel has no io_uring, or does not allow it")


def tearDownModule():
    world.close()


def ask(*how, user=0):
    """One request by the client; it must have been answered."""
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    answer = world.run(*become, client, V4[0], "80", *how).stdout
    assert "hello from one.test" in answer, answer


class Ring(unittest.TestCase):
    def test_a_registered_file_is_its_programs(self):
        with Osproxy(world, "=ring_client") as osproxy:
            ask()
            flow = osproxy.wait_for_flow(type="http")
            self.assertEqual((flow["process"]["name"], flow["status"]), ("ring_client", 200))
        self.assertNotIn("no process was found", osproxy.stderr())

    def test_one_that_nobody_is_found_for_passes_and_is_told(self):
        with Osproxy(world, "=ring_client") as osproxy:
            ask("hidden")
        self.assertRegex(osproxy.stderr(), r"1 connection passed because no process was found to own it .*"
                         rf"a socket of user root( in cgroup \S+)? to {V4[0]}:80")
        self.assertEqual(osproxy.flows(type="http"), [])

    def test_its_user_selects_it(self):
        with Osproxy(world, "user:nobody") as osproxy:
            ask("hidden", user=NOBODY)
            self.assertEqual(osproxy.wait_for_flow(type="http")["process"], None)
            ask("hidden")  # root's
            ask("hidden", user=NOBODY)
            osproxy.wait_for_flows(2, type="http")
        self.assertEqual(len(osproxy.flows(type="http", event="end")), 2)
        self.assertIn("1 connection passed because no process was found to own it", osproxy.stderr())

    def test_its_cgroup_selects_it(self):
        cgroup, inside = new_cgroup(self)
        with Osproxy(world, f"cgroup:{cgroup}") as osproxy:
            ask("hidden")
            world.run(*inside, client, V4[0], "80", "hidden")
            self.assertEqual(osproxy.wait_for_flow(type="http")["process"], None)
        self.assertEqual(len(osproxy.flows(type="http", event="end")), 1)

    def test_exec_sees_it(self):
        with Osproxy(world, "--", client, V4[0], "80", "hidden", command="exec", check=False) as osproxy:
            flow = osproxy.wait_for_flow(type="http")
            self.assertEqual((flow["process"], flow["status"]), (None, 200))


if __name__ == "__main__":
    main()
