"""What containers are made of: user namespaces and cgroups."""
import os
import subprocess

from harness import wait_for


def in_user_namespace(test, command, ids, stderr):
    """`command` as root of user and network namespaces of its own, with `ids` as its map of users and groups; see let_go()."""
    shell = "read ready; ip link set lo up; exec \"$@\""
    inside = subprocess.Popen(["unshare", "--user", "--net", "sh", "-c", shell, "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=open(stderr, "w"), text=True)
    test.addCleanup(inside.kill)
    wait_for(lambda: os.readlink(f"/proc/{inside.pid}/ns/user") != os.readlink("/proc/self/ns/user"), "the user namespace")
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{inside.pid}/{name}", "w") as file:
            file.write(ids)
    return inside


def let_go(inside, stderr):
    """What in_user_namespace() has prepared, an osproxy: begins, and captures or has ended when this returns."""
    print("go", file=inside.stdin, flush=True)
    wait_for(lambda: "osproxy: capturing" in open(stderr).read() or inside.poll() is not None, "the start")


def new_cgroup(test):
    """Of cgroup v2: its path, and the words that run a command in it. It goes with the test."""
    root = next((words[1] for words in map(str.split, open("/proc/self/mounts")) if words[2] == "cgroup2"), None)
    if root is None:
        test.skipTest("no cgroup v2 here")
    name = f"oe-{os.getpid()}"
    os.mkdir(f"{root}/{name}")
    test.addCleanup(os.rmdir, f"{root}/{name}")
    return f"/{name}", ["sh", "-c", f'echo $$ > {root}/{name}/cgroup.procs && exec "$@"', "sh"]
