"""The connection to the server is made as the program's own: from its address, with its mark; a privileged port stays one."""
import json
import unittest

from harness import CLIENT_V4, CLIENT_V6, V4, Osproxy, World, main, wait_for

world = None
OTHER_V4, OTHER_V6 = "192.0.2.9", "2001:db8::9"
ENGINES = ("packet", "redirect")


def setUpModule():
    global world
    world = World()
    for address, extra in ((OTHER_V4 + "/24", []), (OTHER_V6 + "/64", ["nodad"])):
        world.run("ip", "addr", "add", address, "dev", "v0", *extra)


def tearDownModule():
    world.close()


def seen_by_the_server(path):
    """Address and port of the one connection on which `path` was asked for."""
    def find():
        return [line.split()[0] for line in world.access_log() if f" /{path} " in line]
    wait_for(find, f"/{path} at the origin")
    address, port = find()[-1].rsplit(":", 1)
    return address, int(port)


class ProgramSockets(unittest.TestCase):
    def test_source_address(self):
        for engine in ENGINES:
            with Osproxy(world, "curl", "--engine", engine) as osproxy:
                for number, (family, options, expected) in enumerate((
                        (4, [], CLIENT_V4), (4, ["--interface", OTHER_V4], OTHER_V4),
                        (6, ["--interface", OTHER_V6], OTHER_V6), (6, ["--interface", CLIENT_V6], CLIENT_V6))):
                    with self.subTest(engine=engine, options=options):
                        path = f"address-{engine}-{number}"
                        world.curl(f"http://one.test/{path}", *options, family=family)
                        self.assertEqual(seen_by_the_server(path)[0], expected)
                        flow = osproxy.wait_for_flow(type="http", url=f"http://one.test/{path}")
                        self.assertEqual(flow["client"].rsplit(":", 1)[0].strip("[]"), expected)

    def test_source_port(self):
        """Two sockets of one machine cannot have the same ends: the server sees another port, of the same kind."""
        for number, engine in enumerate(ENGINES):
            with Osproxy(world, "curl", "--engine", engine) as osproxy:
                for first, lowest, highest in ((700, 512, 1023), (45000, 1024, 65535), (20000, 1024, 65535)):
                    port = first + number  # one that has been used rests for a while
                    with self.subTest(engine=engine, port=port):
                        path = f"port-{engine}-{port}"
                        world.curl(f"https://one.test/{path}", "--interface", OTHER_V4, "--local-port", str(port), trust="osproxy")
                        address, seen = seen_by_the_server(path)
                        self.assertEqual(address, OTHER_V4)
                        self.assertTrue(lowest <= seen <= highest and seen != port, seen)
                        self.assertEqual(osproxy.wait_for_flow(type="http", url=f"https://one.test/{path}")["client"], f"{OTHER_V4}:{port}")

    def test_mark(self):
        """What leaves for the server; with the redirect engine the program's own packets go to the listener."""
        world.run("nft", "add table ip spy; add chain ip spy c { type filter hook postrouting priority 100; }; "
                  f"add rule ip spy c ip daddr {V4[0]} tcp flags syn / syn,ack meta mark 0x07 counter; "
                  f"add rule ip spy c ip daddr {V4[0]} tcp flags syn / syn,ack counter")
        self.addCleanup(world.run, "nft", "delete", "table", "ip", "spy", check=False)
        script = ("import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, 36, 7); s.connect(('192.0.2.2', 80));"
                  "s.sendall(b'GET /mark HTTP/1.0\\r\\n\\r\\n'); assert s.recv(12) == b'HTTP/1.1 200'")
        for engine in ENGINES:
            with self.subTest(engine), Osproxy(world, "python", "--engine", engine) as osproxy:
                before = self.counted()
                world.run("/usr/bin/python3", "-c", script)
                osproxy.wait_for_flow(type="http")
                after = self.counted()
                self.assertEqual([now - then for now, then in zip(after, before)], [1, 1], "all that left had the mark")

    @staticmethod
    def counted():
        listed = json.loads(world.run("nft", "-j", "list", "table", "ip", "spy").stdout)["nftables"]
        return [part["counter"]["packets"] for entry in listed if "rule" in entry for part in entry["rule"]["expr"] if "counter" in part]

    def test_device(self):
        """Such a socket cannot reach a listener on the loopback: it passes, and is shown as that."""
        with Osproxy(world, "curl", "--engine", "packet") as osproxy:
            def is_shown():
                self.assertEqual(world.curl("http://one.test/device", "--interface", "v0").stdout, "hello from one.test\n")
                return osproxy.flows(type="pass")
            wait_for(is_shown, "its flow")  # a busy machine may find its owner too late
            flow = osproxy.flows(type="pass")[0]
            self.assertEqual((flow["process"]["name"], flow["server"], flow["decision"], flow["reason"]),
                             ("curl", f"{V4[0]}:80", "pass", "its socket is bound to the device v0"))
            self.assertEqual(osproxy.flows(type="http"), [])
        with Osproxy(world, "no-such-program", "--engine", "packet") as osproxy:
            world.curl("http://one.test/device", "--interface", "v0")
        self.assertEqual(osproxy.flows(), [])


if __name__ == "__main__":
    main()
