"""`scripts/bench --soak` fails when something leaks."""
import importlib.machinery
import importlib.util
import os
import unittest

from harness import TOP, main


def load_bench():
    loader = importlib.machinery.SourceFileLoader("bench", os.path.join(TOP, "scripts/bench"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
    loader.exec_module(module)
    return module


class Soak(unittest.TestCase):
    FLAT = [1000, 2000, 30, 40]

    def leaks(self, end, failed=0):
        return load_bench().what_leaks([[1, 1, 1, 1]] * 4 + [self.FLAT] * 5 + [end], failed)

    def test_flat(self):
        self.assertEqual(self.leaks([1049, 2100, 50, 40]), [])

    def test_memory(self):
        self.assertEqual(self.leaks([1051, 2000, 30, 40]), ["the broker's memory grew by 5.1% in the second half"])
        self.assertEqual(self.leaks([1000, 2200, 30, 40]), ["the worker's memory grew by 10.0% in the second half"])

    def test_descriptors(self):
        self.assertEqual(self.leaks([1000, 2000, 51, 40]), ["the broker had 30 descriptors in the middle, 51 at the end"])
        self.assertEqual(self.leaks([1000, 2000, 30, 80]), ["the worker had 40 descriptors in the middle, 80 at the end"])

    def test_failed_connections(self):
        self.assertEqual(self.leaks(self.FLAT, 3), ["3 connections failed"])


if __name__ == "__main__":
    main()
