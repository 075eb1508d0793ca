"""What all measurements of streaming share: a memory cgroup with a cold page cache, the disk's own best rate beside
every run, and Markdown. A module, not a program. Standard library only; needs Linux, root and fio.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIO_BLOCKS = ["1M", "2M", "4M", "8M"]
FIO_DEPTHS = [4, 8, 16, 32]
GIB = 1 << 30

# So that what is running is ended and its cgroup removed, as by an interrupt.
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def fail(problem, hint=None):
    print(f"error: {problem}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    sys.exit(1)


def note(text):
    print(text, file=sys.stderr, flush=True)


def parsed_size(text):
    match = re.fullmatch(r"(\d+)(MiB|GiB)", text)
    if not match:
        raise argparse.ArgumentTypeError("expected a size such as 512MiB or 1GiB")
    return int(match[1]) << (20 if match[2] == "MiB" else 30)


def size_text(size):
    return f"{size // GIB} GiB" if size % GIB == 0 else f"{size / (1 << 20):.0f} MiB"


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


class MemoryGroup:
    """A memory cgroup, version 1 or 2, that one command runs in. Page cache counts."""

    def __init__(self, limit):
        second = pathlib.Path("/sys/fs/cgroup")
        first = second / "memory"
        self.is_first = (first / "memory.limit_in_bytes").exists()
        if not self.is_first and "memory" not in read(second / "cgroup.controllers").split():
            fail("there is no memory cgroup controller")
        self.path = (first if self.is_first else second) / f"lamina-benchmark-{os.getpid()}"
        self.limit = limit

    def __enter__(self):
        try:
            if not self.is_first and "memory" not in read(self.path.parent / "cgroup.subtree_control").split():
                (self.path.parent / "cgroup.subtree_control").write_text("+memory")
            self.path.mkdir()
        except PermissionError:
            fail("no permission to make a memory cgroup", "run this as root")
        if self.is_first:
            (self.path / "memory.limit_in_bytes").write_text(str(self.limit))
        else:
            (self.path / "memory.max").write_text(str(self.limit))
            with contextlib.suppress(OSError):
                (self.path / "memory.swap.max").write_text("0")
        return self

    def __exit__(self, *_):
        if self.is_first:
            with contextlib.suppress(OSError):
                (self.path / "memory.force_empty").write_text("0")
        self.path.rmdir()

    def enter(self):
        (self.path / "cgroup.procs").write_text("0")

    def peak(self):
        """Most bytes ever charged, page cache included; None before Linux 5.19 with version 2."""
        text = read(self.path / ("memory.max_usage_in_bytes" if self.is_first else "memory.peak"))
        return int(text) if text else None

    def kills(self):
        """Processes that were killed for want of memory."""
        text = read(self.path / ("memory.oom_control" if self.is_first else "memory.events"))
        match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(match[1]) if match else 0


def drop_cache():
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    except PermissionError:
        fail("no permission to drop the page cache", "run this as root")


class Run:
    """One command in a fresh cgroup, on a cold cache. It must succeed, and nothing in it be killed."""

    def __init__(self, command, limit, environment=None):
        chosen = environment or {}
        note("+ " + " ".join([f"{key}={value}" for key, value in chosen.items()] + list(map(str, command))))
        drop_cache()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with MemoryGroup(limit) as group:
            began = time.monotonic()
            done = subprocess.run(command, preexec_fn=group.enter, capture_output=True, text=True,
                                  env=os.environ | chosen)
            self.seconds = time.monotonic() - began
            self.peak, kills = group.peak(), group.kills()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.output = done.stdout
        if done.returncode != 0 or kills:
            fail(f"{command[0]} ended with status {done.returncode}, {kills} killed for want of memory: "
                 f"{done.stderr.strip()[-500:]}")


class Disk:
    """The disk's best rate at direct sequential reads of a store's shards, by fio: the three best of all settings when
    it is made, and the best of those three whenever asked. Each reading goes on where the one before ended, as
    streaming does, so that a cache below the disk of what was read last helps neither of them."""

    def __init__(self, store):
        if shutil.which("fio") is None:
            fail("fio is not installed", "apt-get install fio")
        self.files = sorted(store.glob("layers/*.h5"))
        drop_cache()
        rates = {(block, depth): self._rate(block, depth, 1) for block in FIO_BLOCKS for depth in FIO_DEPTHS}
        self.settings = sorted(rates, key=rates.get, reverse=True)[:3]
        for block, depth in self.settings:
            note(f"fio {block} x {depth}: {rates[block, depth] / 1e9:.2f} GB/s")

    def _rate(self, block, depth, seconds):
        """Bytes per second."""
        # Names only, since fio takes a few kilobytes of them.
        names = ":".join(path.name for path in self.files)
        done = subprocess.run(
            ["fio", "--name=read", f"--filename={names}", "--readonly", "--rw=read", "--file_service_type=sequential",
             f"--bs={block}", "--direct=1", "--ioengine=libaio", f"--iodepth={depth}", "--time_based",
             f"--runtime={seconds}", "--output-format=json"],
            cwd=self.files[0].parent, capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"fio failed: {done.stderr.strip()[-500:]}")
        read = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["read"]
        self._advance(read["io_bytes"])
        return read["bw_bytes"]

    def _advance(self, count):
        """Puts the files that were read behind the others."""
        count %= sum(path.stat().st_size for path in self.files)
        while count > 0:
            count -= self.files[0].stat().st_size
            self.files.append(self.files.pop(0))

    def best(self):
        return max(self._rate(block, depth, 2) for block, depth in self.settings)

    def beside(self, action):
        """What `action` returns, and the better of the disk's rates right before and right after it: a shared disk
        swings."""
        before = self.best()
        result = action()
        return result, max(before, self.best())

    def settings_text(self):
        return (f"fio: {', '.join(f'{block} x {depth}' for block, depth in self.settings)}, the best of "
                f"{len(FIO_BLOCKS) * len(FIO_DEPTHS)} settings, direct sequential reads of the store's shards, right "
                "before and right after every run; the better of the two counts.")


def folder_bytes(folder):
    """Bytes of the files in a folder; a file with several names in it counts as often."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def medians(rows):
    """Of every number in a list of dictionaries with equal keys; where one lacks a number, of the others."""
    known = {key: [row[key] for row in rows if isinstance(row[key], (int, float))] for key in rows[0]}
    return {key: statistics.median(values) for key, values in known.items() if values}


def peak_text(*peaks):
    known = [peak for peak in peaks if peak is not None]
    return f"{max(known) / 2**20:.0f} MiB" if known else "not counted here"


def verdict(is_met):
    return "met" if is_met else "**missed**"


def machine():
    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    memory = int(re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))[1]) * 1024
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors, {memory / GIB:.0f} GiB, "
            f"Linux {platform.release().split('-')[0]}; load average {os.getloadavg()[0]:.1f} at the end")


def heading(title, version):
    """Title, date, machine, programs and command line of a section for RESULTS.md."""
    command = " ".join([str(pathlib.Path(sys.argv[0]).resolve().relative_to(ROOT)), *sys.argv[1:]])
    return [f"### {title}, {datetime.date.today()}", "", f"{machine()}. {version}. `{command}`.", ""]


def table(columns, rows):
    """Lines of a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
