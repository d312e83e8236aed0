"""The root's key is in the memory of no process of a run: not the broker's, the worker's, the guard's, CMD's, nor that of their children."""
import base64
import ctypes
import os
import re
import signal
import socket
import subprocess
import time
import unittest

from harness import PATIENCE, V4, Osproxy, TemporaryUser, World, children_of, main, run, wait_for

# Sanitizers reserve terabytes of address space; nothing of ours is in a mapping of this size.
LARGEST_MAPPING = 4 << 30
BLOCK = 16 << 20

world = None
user = None


def setUpModule():
    global world, user
    world = World()
    user = TemporaryUser().__enter__()


def tearDownModule():
    user.__exit__()
    world.close()


def forms_of_the_key():
    """Whatever a program may have of it: the number in either byte order, half of it, and the text of its file."""
    path = f"{world.ca_dir}/root-ca.key"
    text = run("openssl", "pkey", "-in", path, "-text", "-noout").stdout
    scalar = bytes.fromhex(re.sub(r"[\s:]", "", text.split("priv:")[1].split("pub:")[0])).rjust(32, b"\0")[-32:]
    with open(path) as file:
        body = file.read().split("-----")[2].split()
    assert scalar in base64.b64decode("".join(body))
    return {"scalar": scalar, "scalar as words of this machine": scalar[::-1], "first half": scalar[:16], "last half": scalar[16:],
            "first line of the PEM": body[0].encode(), "second line of the PEM": body[1].encode()}


def mappings(pid):
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if line.split()[1].startswith("r") and last - first < LARGEST_MAPPING and "[v" not in line:
                yield first, last


def found_in(pid, forms):
    """The names of those that are somewhere in the memory of the process."""
    found = set()
    try:
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)
    except FileNotFoundError:
        return found  # a child that has ended meanwhile
    with memory:
        for first, last in mappings(pid):
            tail = b""
            for at in range(first, last, BLOCK):
                try:
                    memory.seek(at)
                    block = memory.read(min(BLOCK, last - at))
                except OSError:
                    break  # a device's, or never touched
                found |= {name for name, form in forms.items() if form in tail + block}
                tail = block[-128:]
    return found


def descendants(pid):
    return [pid] + [each for child in children_of(pid) for each in descendants(child)]


def ask_for_another_intermediate(worker):
    """What the worker says when its intermediate is about to expire, on each of its sockets to the broker."""
    worker_fd = os.pidfd_open(worker)
    for name in os.listdir(f"/proc/{worker}/fd"):
        if os.readlink(f"/proc/{worker}/fd/{name}").startswith("socket:"):
            with socket.socket(fileno=ctypes.CDLL(None).syscall(438, worker_fd, int(name), 0)) as end:  # pidfd_getfd
                if (end.family, end.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                    end.send(b"n")
    os.close(worker_fd)


def intermediate():
    """The second certificate of the chain that a program is shown, as PEM."""
    chain = world.run("openssl", "s_client", "-connect", f"{V4[0]}:443", "-servername", "one.test", "-showcerts", "-CAfile",
                      world.trusting("osproxy"), "-verify_return_error", stdin=subprocess.DEVNULL).stdout
    return re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", chain, re.S)[1]


class RootKey(unittest.TestCase):
    def check(self, osproxy, processes):
        forms = forms_of_the_key()
        pids = descendants(osproxy.broker())
        self.assertGreaterEqual(len(pids), processes)
        self.assertTrue({osproxy.worker(), osproxy.guard()} < set(pids))
        for pid in pids:
            with self.subTest(pid=pid, is_broker=pid == osproxy.broker(), is_worker=pid == osproxy.worker(), is_guard=pid == osproxy.guard()):
                self.assertEqual(found_in(pid, forms), set())

    def test_the_search_finds_what_is_there(self):
        with Osproxy(world, "curl"):
            forms = forms_of_the_key()
        for name, form in forms.items():
            script = "import sys; kept = bytes.fromhex(sys.stdin.readline()); print('kept', flush=True); sys.stdin.readline()"
            process = world.python(script, stdin=-1, stdout=-1, text=True)
            print(form.hex(), file=process.stdin, flush=True)
            process.stdout.readline()
            self.assertIn(name, found_in(process.pid, forms))
            process.kill()

    def test_a_run_that_makes_the_root_does_not_keep_its_key(self):
        first = f"{world.dir}/made-by-the-run"
        before, world.ca_dir = world.ca_dir, first
        self.addCleanup(setattr, world, "ca_dir", before)
        with Osproxy(world, "curl", environment=user.environment, jsonl=False) as osproxy:
            world.curl("https://one.test/", trust="osproxy")
            self.check(osproxy, 3)

    def test_neither_does_one_that_finds_it_and_signs_again(self):
        with Osproxy(world, "curl"):
            pass
        with Osproxy(world, "openssl", "--passthrough-ttl", "0", environment=user.environment, jsonl=False) as osproxy:
            first = intermediate()

            def is_another():
                ask_for_another_intermediate(osproxy.worker())
                time.sleep(0.5)
                return intermediate() != first
            # One in ten seconds is made, and the first was made at the start.
            wait_for(is_another, "another intermediate", 2 * PATIENCE)
            self.check(osproxy, 3)

    def test_nor_the_command_of_exec_and_its_children(self):
        shell = "sleep 1000 & wait"
        with Osproxy(world, "--", "sh", "-c", shell, command="exec", environment=user.environment, jsonl=False, check=False) as osproxy:
            wait_for(lambda: len(descendants(osproxy.broker())) >= 5, "the command and its child")
            for pid in descendants(osproxy.broker()):
                with open(f"/proc/{pid}/comm") as file:
                    if file.read() == "sleep\n":
                        self.addCleanup(os.kill, pid, signal.SIGKILL)  # it outlives the command
            self.check(osproxy, 5)


if __name__ == "__main__":
    main()
