"""Runs of programs while nothing else keeps the processors busy, and what the kernels reach of the rate of memory. A
module, not a program."""
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "streaming"))
from compute import program  # noqa: E402
from measuring import fail, note, read  # noqa: E402

OTHERS = 0.15  # of the processors, at most, for a run to count at once
ATTEMPTS = 3
LINE = re.compile(r"^(\S+)\s+(gemv|gemv single)\s+(int8-row|q8|q4|nf4)\s+([\d.]+) GB/s\s+read\s+([\d.]+)\s+ratio\s+"
                  r"([\d.]+)", re.MULTILINE)

NARROW = re.compile(r"^\S+\s+4\.60\s+[\d.]+\s+[\d.]+ GB/s\s+([\d.]+) GB/s\s+([\d.]+)", re.MULTILINE)


def busy_seconds():
    """Of all processors since the machine was started."""
    user, nice, system, _, _, interrupt, soft, steal = map(int, read("/proc/stat").split("\n")[0].split()[1:9])
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")


def child_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class QuietRun:
    """One command that succeeded. While other programs take more than their share of the processors it is run again,
    a few times; `others` is what they had in the run that counts, the last one."""

    def __init__(self, command):
        for attempt in range(ATTEMPTS):
            self._run(command)
            if self.others <= OTHERS:
                return
            note(f"others took {100 * self.others:.0f} % of the processors")
            time.sleep(attempt)

    def _run(self, command):
        busy, own, began = busy_seconds(), child_seconds(), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            fail(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        others = busy_seconds() - busy - (child_seconds() - own)
        self.others = max(0, others) / (seconds * os.cpu_count())
        self.output = done.stdout


def narrow_share(threads, rounds):
    """The same of ecq's codes as they lie in memory, with the spread they have at 4.25 bits."""
    done = subprocess.run([program("narrow_benchmark")[1], str(threads), str(rounds), "4.6"], capture_output=True,
                          text=True)
    line = NARROW.search(done.stdout)
    if done.returncode != 0 or line is None:
        fail(f"the benchmark of narrow codes says nothing: {done.stdout} {done.stderr}")
    return float(line[2]), float(line[1]) * 1e9


def kernel_shares(threads, rounds=15):
    """Scheme -> (share of the rate of memory that its product with one column reaches, both in turn on the same memory,
    and that rate in bytes per second); nf4's with f32, the others' with 8-bit activations."""
    found = {"ecq@4.25": narrow_share(threads, rounds)}
    for kind in ("gemv", "f32"):
        done = subprocess.run([program("quantized_benchmark")[1], str(threads), str(rounds), kind], capture_output=True, text=True)
        lines = LINE.findall(done.stdout)
        if done.returncode != 0 or not lines:
            fail(f"the kernels' benchmark says nothing: {done.stdout} {done.stderr}")
        for isa, what, scheme, _, memory, ratio in lines:
            if isa == lines[0][0] and (what == "gemv single") == (scheme == "nf4"):
                found[scheme] = (float(ratio), float(memory) * 1e9)
    return found
