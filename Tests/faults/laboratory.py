"""The program under test, the store it reads, and the library that disturbs its reads. A module, not a program."""
import dataclasses
import errno
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

from targets import Trace

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOKENS = 4
SECONDS = 60  # for one run


def fail(problem):
    sys.exit(f"error: {problem}")


@dataclasses.dataclass
class Setting:
    """One way to run the program, and what happens without faults."""
    mode: str | None
    budget: int
    output: str = ""
    reads: Trace | None = None
    more_reads: Trace | None = None  # with one token more

    def used_reads(self, path, byte):
        """How many of the reads of a byte are for computing: every pass's, or one if it then stays in memory."""
        is_read_each_pass = self.more_reads.count(path, byte) > self.reads.count(path, byte)
        return TOKENS if is_read_each_pass else 1


class Laboratory:
    """The program, the store, and the library that disturbs reads."""

    def __init__(self, options, folder):
        self.folder, self.programs = folder, options.bin.resolve()
        self.has_uring = True
        self.store, self.library = folder / "tiny.lamina", folder / "read_faults.so"
        self.compile("read_faults.c", self.library, "-shared", "-fPIC", "-ldl", "-lpthread")
        self.make_store()
        self.help = subprocess.run([self.programs / "lamina-run", "generate", "--help"], capture_output=True,
                                   text=True, check=True).stdout
        codes = re.search(r"Exit codes: (.*?)\n\n", self.help, re.DOTALL)[1]
        self.exit_codes = {int(code) for code in re.findall(r"(\d+) [a-z]", codes)}

    @staticmethod
    def compile(source, target, *flags):
        compiler = os.environ.get("CC") or next(filter(shutil.which, ["cc", "gcc", "clang"]), None)
        if compiler is None:
            fail("there is no C compiler")
        command = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", HERE / source, "-o", target]
        subprocess.run([*command, *flags], check=True)

    def make_store(self):
        """A small model with the smallest chunks, so that there is much to read."""
        make = ROOT / "Benchmarks/streaming/make_checkpoint.py"
        sizes = "--layers 6 --hidden 512 --intermediate 1536 --heads 8 --kv-heads 2 --head-dim 64 --vocabulary 2000"
        subprocess.run([sys.executable, make, self.folder / "tiny", *sizes.split(), "--untied"], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([self.programs / "lamina-convert", "convert", "-q", "--chunk-bytes", "4K", self.folder / "tiny",
                        self.store], check=True)

    def check_library(self):
        """The library itself, on a program that only reads: every fault in every way to read, and what comes of it."""
        reader, file, expected = self.folder / "reader", self.folder / "bytes", random.Random(0).randbytes(100_000)
        file.write_bytes(expected)
        self.compile("reader.c", reader, "-luring")
        byte, flipped = 40_960, bytearray(expected)
        flipped[byte] ^= 255
        outcomes = {"none": (0, expected), "eintr": (0, expected), "eagain": (0, expected), "short": (0, expected),
                    "flip": (0, bytes(flipped)), "eio": (errno.EIO, expected[:32_768]), "end": (200, expected[:32_768])}
        for way in ["pread", "uring", "uring-registered", "uring-files"]:
            for kind, (status, content) in outcomes.items():
                log = self.folder / f"log-{way}-{kind}"
                faults = {"LAMINA_FAULT_PATH": str(file), "LAMINA_FAULT_KIND": kind, "LAMINA_FAULT_OFFSET": str(byte),
                          "LAMINA_FAULT_COUNT": "3", "LAMINA_FAULT_LOG": str(log), "LD_PRELOAD": str(self.library)}
                done = subprocess.run([reader, way, file], capture_output=True, env=os.environ | faults)
                if kind == "none" and done.returncode in (errno.EPERM, errno.EACCES, errno.ENOSYS):
                    print(f"note: this system refuses {way}: {os.strerror(done.returncode)}", file=sys.stderr)
                    self.has_uring = False
                    break
                injected = Trace(log, self.folder).disturbed
                if (done.returncode, done.stdout) != (status, content) or (injected > 0) != (kind != "none"):
                    return f"{kind} in {way} reads: status {done.returncode}, {injected} injected"
        return None

    def run(self, setting, environment=None, is_json=False, tokens=TOKENS, threads=2):
        """Generates with greedy choice; `environment` says what the library does."""
        command = [self.programs / "lamina-run", "generate", self.store, "--ids", "1,700,1500", "--temp", "0",
                   "--ignore-eos", "--quiet", "--max-tokens", str(tokens), "--threads", str(threads), "--memory",
                   f"{setting.budget}MiB"]
        command += ["--json"] if is_json else []
        command += ["--io", setting.mode] if setting.mode else []
        # A fixed depth spares the program its measuring, where there is such an option.
        command += ["--io-depth", "8"] if "--io-depth" in self.help else []
        faults = {"LD_PRELOAD": str(self.library), **environment} if environment else {}
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | faults, timeout=SECONDS)

    def smallest_budget(self):
        """In MiB, as the program states it when it gets less."""
        said = self.run(Setting(None, 1), tokens=TOKENS + 1).stderr
        match = re.search(r"at least (\d+) MiB", said)
        if not match:
            fail(f"the program does not state its smallest budget: {said}")
        return int(match[1])

    def traced(self, setting, tokens):
        """A run without faults, and its reads; None for them if it failed."""
        log = self.folder / "trace"
        log.unlink(missing_ok=True)
        done = self.run(setting, {"LAMINA_FAULT_PATH": str(self.store), "LAMINA_FAULT_LOG": str(log)}, tokens=tokens)
        if done.returncode != 0:
            return done, None
        return done, Trace(log, self.store)


def settings(laboratory, modes):
    """The ways to run, each with its undisturbed output and reads; all outputs must be equal."""
    smallest, found = laboratory.smallest_budget(), []
    for mode in modes:
        for budget in (smallest, smallest + 12):
            setting = Setting(mode, budget)
            done, setting.reads = laboratory.traced(setting, TOKENS)
            if setting.reads is None and not laboratory.has_uring and "uring" in mode:
                print(f"note: --io {mode} is left out: {done.stderr.strip()}", file=sys.stderr)
                break
            if setting.reads is None:
                fail(f"--io {mode} does not work without faults: {done.stderr.strip()}")
            if not any(path.startswith("layers/") for path in setting.reads.reads):
                fail(f"--io {mode}: the library saw no reads of shards")
            setting.output = done.stdout
            _, setting.more_reads = laboratory.traced(setting, TOKENS + 1)
            used = json.loads(laboratory.run(setting, is_json=True).stdout)["timings"].get("io_mode", mode)
            if used != mode and mode:
                fail(f"--io {mode} reads with {used}")
            found.append(setting)
    if not found or len({setting.output for setting in found}) != 1:
        fail(f"undisturbed runs differ: {[(setting.mode, setting.budget, setting.output) for setting in found]}")
    return found
