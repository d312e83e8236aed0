"""The systemd unit's hardening, tried: osproxy runs with the capabilities, system calls, address families and writable directories
that conf/osproxy.service leaves it (put in place by this test, because there is no systemd on the machines that run it)."""
import ctypes
import os
import re
import struct
import subprocess
import unittest

from containers import new_cgroup
from harness import ASAN, Osproxy, TOP, V4, World, main, run, status_of

world = None
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def unit():
    """The [Service] settings of the unit."""
    with open(f"{TOP}/conf/osproxy.service") as file:
        return dict(line.split("=", 1) for line in file.read().split("\n") if re.match(r"[A-Za-z]+=", line))


def system_call_numbers():
    """Name -> number on this machine, as its C library's headers have them."""
    text = run("cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null").stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", text, re.M)}


def system_calls_of(group):
    """What systemd means by a @group, with the groups in it."""
    calls = set()
    for line in run("systemd-analyze", "syscall-filter", group).stdout.split("\n")[1:]:
        word = line.strip()
        if word.startswith("@"):
            calls |= system_calls_of(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def filter_program(calls, families):
    """BPF: `calls` are allowed, socket(2) for `families`; anything else is EPERM, as SystemCallErrorNumber says."""
    load, equal, end = 0x20, 0x15, 0x06
    allow, deny = 0x7FFF0000, 0x00050000 | 1
    numbers = system_call_numbers()
    code = [(load, 0, 0, 0)]
    for call in sorted(calls - {"socket"}):
        if call in numbers:
            code += [(equal, 0, 1, numbers[call]), (end, 0, 0, allow)]
    code += [(equal, 1, 0, numbers["socket"]), (end, 0, 0, deny), (load, 0, 0, 16)]
    for family in families:
        code += [(equal, 0, 1, FAMILIES[family]), (end, 0, 0, allow)]
    code += [(end, 0, 0, deny)]
    return [struct.pack("HBBI", *instruction) for instruction in code]


def confine(settings, writable):
    """A function that a child calls before it becomes osproxy."""
    libc = ctypes.CDLL(None, use_errno=True)
    calls = set().union(*(system_calls_of(word) if word.startswith("@") else {word} for word in settings["SystemCallFilter"].split()))
    code = filter_program(calls, settings["RestrictAddressFamilies"].split())
    instructions = ctypes.create_string_buffer(b"".join(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(instructions)))
    read_only, bind, recursive, private, remount = 1, 4096, 16384, 1 << 18, 32

    def must(value, what):
        if value != 0:
            raise OSError(ctypes.get_errno(), what)

    def mount(path, flags):
        must(libc.mount(path.encode(), path.encode(), None, flags, None), f"mount {path}")

    def enter(_code=instructions):  # the program points into it
        must(libc.unshare(0x00020000), "unshare")  # CLONE_NEWNS
        must(libc.mount(b"none", b"/", None, recursive | private, None), "private")
        # ProtectSystem=strict, ProtectControlGroups, ProtectKernelTunables; the directories of the unit, and the test's, stay writable.
        for path in writable:
            mount(path, bind)
        for path in ("/", "/proc/sys", "/sys/fs/cgroup", "/home"):
            mount(path, bind | recursive)
            mount(path, bind | remount | read_only)
        for path in writable:
            mount(path, bind)
            must(libc.mount(None, path.encode(), None, bind | remount, None), f"writable {path}")
        must(libc.prctl(38, 1, 0, 0, 0), "no new privileges")
        libc.prctl(65, 1, 0, 0, 0)  # MemoryDenyWriteExecute; Linux before 6.3 cannot
        must(libc.prctl(22, 2, ctypes.byref(program), 0, 0), "seccomp")

    return enter


class ConfinedWorld:
    """The world, but what is spawned is confined."""

    def __init__(self, enter):
        self.enter = enter

    def spawn(self, command, **options):
        return world.spawn(command, preexec_fn=self.enter, **options)

    def __getattr__(self, name):
        return getattr(world, name)


class Service(unittest.TestCase):
    def start(self, *arguments, program="curl"):
        settings = unit()
        capabilities = [name.removeprefix("CAP_").lower() for name in settings["CapabilityBoundingSet"].split()]
        for path in ("/run/osproxy", "/var/lib/osproxy"):
            os.makedirs(path, exist_ok=True)
        osproxy = Osproxy(world, program, *arguments)
        # The world's directory holds its CA and its flows, as /var/lib/osproxy and /var/log/osproxy do.
        enter = confine(settings, ["/run/osproxy", "/var/lib/osproxy", world.dir])
        limited = ["setpriv", "--bounding-set", "-all," + ",".join("+" + name for name in capabilities), "--inh-caps", "-all", "--"]
        osproxy.command = [*limited, *osproxy.command]
        osproxy.world = ConfinedWorld(enter)
        return osproxy

    def check(self, *arguments):
        with self.start(*arguments) as osproxy:
            status = status_of(osproxy.broker())
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
            # The worker has a filter of its own as well.
            self.assertEqual(int(status_of(osproxy.worker())["Seccomp_filters"]), int(status["Seccomp_filters"]) + 1)
            self.assertNotEqual(status["CapEff"], status_of(os.getpid())["CapEff"])
            self.assertEqual(status_of(osproxy.worker())["Uid"].split()[0], "65534")
            # root's program, and somebody else's, whose files root may not simply look into.
            world.curl("https://one.test/")
            self.assertEqual(osproxy.wait_for_flow(type="http", host="one.test")["process"]["user"], "root")
            world.run("setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups", *world.curl_command("https://two.test/"))
            self.assertEqual(osproxy.wait_for_flow(type="http", host="two.test")["process"]["name"], "curl")

    @unittest.skipIf(ASAN, "ASan's allocator and its leak check need more than the unit allows")
    def test_it_intercepts_with_what_the_unit_leaves_it(self):
        self.check()

    @unittest.skipIf(ASAN, "ASan's allocator and its leak check need more than the unit allows")
    def test_with_the_redirect_engine(self):
        self.check("--engine", "redirect")

    @unittest.skipIf(ASAN, "ASan's allocator and its leak check need more than the unit allows")
    def test_a_cgroup_selects_sockets_that_no_process_is_found_for(self):
        """See test_unknown. A cgroup's path is found by its number there."""
        cgroup, inside = new_cgroup(self)
        client = f"{world.dir}/ring_client"
        run("cc", "-O1", "-o", client, f"{TOP}/tests/e2e/programs/ring_client.c")
        if world.run(client, V4[0], "80", check=False).returncode == 2:
            self.skipTest("this kernel has no io_uring, or does not allow it")
        with self.start(program=f"cgroup:{cgroup}") as osproxy:
            world.run(client, V4[0], "80", "hidden")
            world.run(*inside, client, V4[0], "80", "hidden")
            self.assertEqual(osproxy.wait_for_flow(type="http")["process"], None)
        self.assertEqual(len(osproxy.flows(type="http", event="end")), 1)

    @unittest.skipIf(ASAN, "ASan's allocator and its leak check need more than the unit allows")
    def test_the_confinement_is_real(self):
        """Otherwise the tests above would prove nothing."""
        enter = confine(unit(), [world.dir])
        script = ("import socket, os\n"
                  "def tried(what):\n"
                  "  try: what(); return 'done'\n"
                  "  except OSError as error: return error.strerror\n"
                  "print(tried(lambda: socket.socket(17, socket.SOCK_RAW)), tried(lambda: open('/usr/x', 'w')), tried(lambda: open('/proc/sys/kernel/hostname', 'r+')),\n"
                  f"  tried(lambda: open('{world.dir}/x', 'w')), tried(lambda: os.chroot('/')), sep='; ')\n")
        result = subprocess.run(["/usr/bin/python3", "-c", script], preexec_fn=enter, text=True, capture_output=True, timeout=60)
        self.assertEqual(result.stdout, "Operation not permitted; Read-only file system; Read-only file system; done; Operation not permitted\n",
                         result.stderr)

    def test_each_capability_is_needed(self):
        """The unit asks for nothing that osproxy could do without. KILL is only for a worker that hangs."""
        settings = unit()
        names = settings["CapabilityBoundingSet"].split()
        self.assertEqual(names, ["CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"])
        for missing in ("CAP_NET_ADMIN", "CAP_SETUID", "CAP_SETGID"):
            left = ",".join("+" + name.removeprefix("CAP_").lower() for name in names if name != missing)
            osproxy = Osproxy(world, "curl", check=False)
            osproxy.command = ["setpriv", "--bounding-set", "-all," + left, "--inh-caps", "-all", "--", *osproxy.command]
            with self.assertRaisesRegex(AssertionError, "at its start", msg=missing):
                osproxy.start(self)
            self.assertNotIn("osproxy", world.tables())


if __name__ == "__main__":
    main()
