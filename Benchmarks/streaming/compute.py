"""What the processor could do at best, by the kernels' own benchmark. A module, not a program."""
import functools
import os
import pathlib
import re
import subprocess
import tempfile

from measuring import ROOT, fail, note

LINE = re.compile(r"^(\S+)\s+gemm\s+bf16\s+M (\d+)\s+([\d.]+) GFLOP/s", re.MULTILINE)


@functools.cache
def program(name="kernel_benchmark"):
    """A benchmark of the kernels, built once: its folder and its path."""
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name) / name
    done = subprocess.run([ROOT / "Benchmarks/kernels/build", path.name, path], capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"cannot build the kernels' benchmark: {done.stderr}")
    # The folder lives as long as what this returns.
    return folder, path


def multiply_rates(threads=None):
    """Columns -> floating-point operations per second of the product's own BF16 kernels on all processors, with the
    instruction set that Lamina would take."""
    command = [program()[1], str(threads or len(os.sched_getaffinity(0))), "3", "gemm"]
    done = subprocess.run(command, capture_output=True, text=True)
    found = LINE.findall(done.stdout)
    if done.returncode != 0 or not found:
        fail(f"{command[0]} says nothing about bf16: {done.stdout} {done.stderr}")
    rates = {int(columns): float(rate) * 1e9 for isa, columns, rate in found if isa == found[0][0]}
    note(", ".join(f"{columns} columns {rate / 1e9:.0f} GFLOP/s" for columns, rate in rates.items()))
    return rates


def beside(columns, action):
    """What `action` returns, and the better of the rates right before and right after it, of the measured number of
    columns that is nearest to `columns` in ratio: a shared processor swings."""
    before = multiply_rates()
    result = action()
    after = multiply_rates()
    nearest = min(before, key=lambda measured: max(measured / columns, columns / measured))
    return result, max(before[nearest], after[nearest])
