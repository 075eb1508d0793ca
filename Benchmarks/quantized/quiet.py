"""Runs of programs while nothing else keeps the processors busy, and the rate of memory beside them. A module, not a
program."""
import functools
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "streaming"))
from measuring import ROOT, fail, note, read  # noqa: E402

OTHERS = 0.04  # of the processors, at most, for a run to count
ATTEMPTS = 12
READ = re.compile(r"read\s+([\d.]+) GB/s")


def busy_seconds():
    """Of all processors since the machine was started."""
    user, nice, system, _, _, interrupt, soft, steal = map(int, read("/proc/stat").split("\n")[0].split()[1:9])
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")


def child_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class QuietRun:
    """One command that succeeded. It is run again while other programs take more than their share of the processors;
    `others` is what they had in the run that counts."""

    def __init__(self, command):
        for _ in range(ATTEMPTS):
            self._run(command)
            if self.others <= OTHERS:
                return
            note(f"others took {100 * self.others:.0f} % of the processors: again")
            time.sleep(5)
        note("counted all the same")

    def _run(self, command):
        busy, own, began = busy_seconds(), child_seconds(), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            fail(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        others = busy_seconds() - busy - (child_seconds() - own)
        self.others = max(0, others) / (seconds * os.cpu_count())
        self.output = done.stdout


@functools.cache
def reader():
    """The kernels' benchmark, built once."""
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name) / "quantized_benchmark"
    done = subprocess.run([ROOT / "Benchmarks/kernels/build", path.name, path], capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"cannot build the kernels' benchmark: {done.stderr}")
    return folder, path  # the folder lives as long as what this returns


def memory_rate(threads):
    """Bytes per second that so many threads read from memory."""
    return float(READ.search(QuietRun([reader()[1], str(threads), "15", "read"]).output)[1]) * 1e9


def beside(threads, action):
    """What `action` returns, and the better of memory's rates right before and right after it."""
    before = memory_rate(threads)
    result = action()
    return result, max(before, memory_rate(threads))
