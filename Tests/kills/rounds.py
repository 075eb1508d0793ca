"""Conversions that are killed, and what must be there afterwards. A module, not a program."""
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from synthetic import Sizes, write_checkpoint

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS = 120  # for one run
DONE = 73  # the exit code where there is a store already
RECORD = "originals.json"  # about this machine's files, so no part of a store
DELETIONS = {"delete": "--delete-original", "progressive": "--delete-progressively"}
MODES = ["plain", *DELETIONS, "overwrite", "restore", "quantize"]
# The tiny matrices too.
QUANTIZATION = ["--scheme", "ecq", "--keep", "*=ecq"]
# Of several megabytes, so that a conversion takes a while, and as small as a model can be, so that its calls are few.
LARGE = (Sizes(hidden=512, intermediate=1536, layers=6, vocabulary=4000), ["--chunk-bytes", "64K"])
TINY = (Sizes(hidden=64, intermediate=96, layers=2, vocabulary=128), ["--chunk-bytes", "8K"])


def fail(problem):
    sys.exit(f"error: {problem}")


@dataclasses.dataclass
class Outcome:
    """What came of a run that was killed and run again."""
    name: str
    kills: int
    problems: list


class Model:
    """A checkpoint, the store that is made of it without a kill, and how long that takes in each mode."""

    def __init__(self, laboratory, name, sizes, options, seed):
        self.source, self.store, self.options = laboratory.folder / name, laboratory.folder / f"{name}.lamina", options
        write_checkpoint(self.source, sizes, 4, seed)
        self.files = {path.name: path.read_bytes() for path in self.source.glob("*.safetensors")}
        done = laboratory.run(["convert", self.source, self.store, "--quiet", *options])
        if done.returncode != 0:
            fail(f"the conversion does not work without kills: {done.stderr.strip()}")
        verify = [laboratory.programs / "lamina-verify", self.store, "--decode"]
        subprocess.run(verify, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stored = store_files(self.store)
        # Another store of the same checkpoint, to be overwritten.
        self.old_store = laboratory.folder / f"{name}.old.lamina"
        laboratory.run(["convert", self.source, self.old_store, "--quiet", "--codec", "raw"])
        self.old_stored = store_files(self.old_store)
        quantized = laboratory.folder / f"{name}.quantized.lamina"
        done = laboratory.run(["quantize", self.store, quantized, "--quiet", *QUANTIZATION])
        if done.returncode != 0:
            fail(f"quantizing does not work without kills: {done.stderr.strip()}")
        self.quantized = store_files(quantized)
        manifest = json.loads(self.stored["manifest.json"])
        self.shards = manifest["shards"]
        self.headers = {file["path"]: file["header"] for file in manifest["source"]["files"]}
        self.seconds = {}

    def shards_of(self, name):
        """Of the tensors of a source file."""
        index = list(self.headers).index(name)
        return {shard["path"] for shard in self.shards
                if any(tensor["source_file"] == index for tensor in shard["tensors"])}


def store_files(folder):
    """Bytes by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != RECORD}


class Laboratory:
    """The program, what it is to convert, and the library that kills it."""

    def __init__(self, programs, folder, seed):
        self.folder, self.programs, self.keeps = folder, programs, False
        self.library = folder / "kill_at_call.so"
        self.help = self.run(["--help"]).stdout + self.run(["convert", "--help"]).stdout
        self.compile()
        self.large = Model(self, "large", *LARGE, seed)
        self.tiny = Model(self, "tiny", *TINY, seed)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.keeps:
            shutil.rmtree(self.folder, ignore_errors=True)

    def compile(self):
        compiler = os.environ.get("CC") or next(filter(shutil.which, ["cc", "gcc", "clang"]), None)
        if compiler is None:
            fail("there is no C compiler")
        flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, HERE / "kill_at_call.c", "-o", self.library, "-ldl"], check=True)

    def known_modes(self):
        modes = ["plain", *(mode for mode, option in DELETIONS.items() if option in self.help)]
        modes += ["overwrite"] if "--overwrite" in self.help else []
        modes += ["restore"] if re.search(r"^  restore\b", self.help, re.MULTILINE) else []
        return [*modes, "quantize"]

    def command(self, arguments):
        program = "lamina-quantize" if arguments[0] == "quantize" else "lamina-convert"
        return [self.programs / program, *arguments]

    def run(self, arguments, environment=None):
        return subprocess.run(self.command(arguments), capture_output=True, text=True,
                              env=os.environ | (environment or {}), timeout=SECONDS)

    def start(self, arguments):
        return subprocess.Popen(self.command(arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def measure(self, modes):
        """How long each mode takes, once warm, so that kills meet all of it."""
        for mode in modes:
            for _ in range(2):
                place = Place(self, self.large, mode, f"measured {mode}")
                began = time.monotonic()
                done = self.run(place.command)
                self.large.seconds[mode] = time.monotonic() - began
                if done.returncode != 0:
                    fail(f"mode {mode} does not work without kills: {done.stderr.strip()}")
                place.remove()


class Place:
    """One round's copies and its command."""

    def __init__(self, laboratory, model, mode, name):
        self.laboratory, self.model, self.mode = laboratory, model, mode
        self.folder = laboratory.folder / name.replace(" ", "-")
        self.source, self.store = self.folder / "source", self.folder / "store"
        self.folder.mkdir()
        if mode == "restore":
            self.command = ["restore", model.store, self.source, "--quiet"]
            return
        if mode == "quantize":
            shutil.copytree(model.store, self.source)
            self.command = ["quantize", self.source, self.store, "--quiet", *QUANTIZATION]
            return
        # Copies, not links: an original with another name is not deleted.
        shutil.copytree(model.source, self.source)
        options = [DELETIONS[mode], "--yes"] if mode in DELETIONS else []
        if mode == "overwrite":
            options = ["--overwrite"]
            shutil.copytree(model.old_store, self.store)
        self.command = ["convert", self.source, self.store, "--quiet", *model.options, *options]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def problems(self):
        """What is lost, at any moment."""
        if self.mode == "restore":
            wrong = [name for name, data in self.model.files.items()
                     if self.bytes(self.source / name) not in (None, data)]
            return [f"{name} has its name but not its bytes" for name in wrong]
        if self.mode == "quantize":
            return [] if store_files(self.source) == self.model.stored else ["the full-precision store is changed"]
        problems, recorded = [], self.recorded()
        for name, data in self.model.files.items():
            found = self.bytes(self.source / name)
            if found is None and self.mode in DELETIONS:
                header = self.model.headers[name]
                needed = {header} | self.model.shards_of(name)
                lost = [path for path in needed if self.bytes(self.store / path) != self.model.stored[path]]
                lost += [path for path in needed - {header} if path not in recorded]
                problems += [f"{name} is gone, and {path} does not stand for it" for path in lost]
            elif found != data:
                problems.append(f"the original {name} is {'gone' if found is None else 'changed'}")
        if self.mode == "overwrite" and not self.is_whole_store():
            problems.append("neither the old store nor the new one is there")
        return problems

    def is_whole_store(self):
        """The old one or the new one, and maybe more."""
        stored = store_files(self.store).items()
        return stored >= self.model.old_stored.items() or stored >= self.model.stored.items()

    def recorded(self):
        """The shards that a manifest lists, the final or the partial one."""
        for name in ("manifest.json", "manifest.partial.json"):
            data = self.bytes(self.store / name)
            if data is not None:
                return {shard["path"] for shard in json.loads(data)["shards"]}
        return set()

    @staticmethod
    def bytes(path):
        return path.read_bytes() if path.exists() else None

    def final_problems(self):
        """What is wrong once the command has ended by itself."""
        if self.mode == "restore":
            found = {path.name: path.read_bytes() for path in self.source.iterdir()}
            wanted = {path.name: path.read_bytes() for path in self.model.source.iterdir()}
            wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            return [f"restored {wrong} differ"] if wrong else []
        stored = store_files(self.store)
        wanted = self.model.quantized if self.mode == "quantize" else self.model.stored
        wrong = sorted(path for path in stored.keys() | wanted.keys() if stored.get(path) != wanted.get(path))
        problems = [f"of the store {wrong} differ"] if wrong else []
        left = [path.name for path in self.source.glob("*.safetensors")]
        if self.mode in DELETIONS and left:
            problems.append(f"not deleted: {left}")
        others = [path.name for path in self.folder.iterdir() if path not in (self.source, self.store)]
        if others:
            problems.append(f"left beside the store: {others}")
        return problems

    def finish(self):
        """Runs the command until it ends; what is wrong then."""
        done = self.laboratory.run(self.command)
        # A conversion that was done when it was killed has nothing left to do, and says so.
        is_done = self.mode in ("plain", "quantize") and done.returncode == DONE and "already" in done.stderr
        if done.returncode != 0 and not is_done:
            return [f"run again: exit code {done.returncode}, {done.stderr.strip()}", *self.problems()]
        return self.problems() + self.final_problems() + self.restoration_problems()

    def restoration_problems(self):
        """The store gives back what was deleted."""
        if self.mode not in DELETIONS or "restore" not in self.laboratory.known_modes():
            return []
        done = self.laboratory.run(["restore", self.store, self.folder / "restored", "--quiet"])
        if done.returncode != 0:
            return [f"cannot be restored: {done.stderr.strip()}"]
        wrong = [name for name, data in self.model.files.items() if self.bytes(self.folder / "restored" / name) != data]
        return [f"restored {wrong} differ"] if wrong else []

    def outcome(self, name, kills, problems, keeps):
        if not (problems and keeps):
            self.remove()
        return Outcome(name, kills, problems)


def call_round(laboratory, mode, number, keeps):
    """Kills the tiny conversion after call `number`."""
    place = Place(laboratory, laboratory.tiny, mode, f"{mode} call {number}")
    environment = {"LD_PRELOAD": str(laboratory.library), "LAMINA_KILL_PATH": str(place.folder),
                   "LAMINA_KILL_AT": str(number)}
    done = laboratory.run(place.command, environment)
    kills = int(done.returncode == -signal.SIGKILL)
    problems = place.problems()
    if not kills and done.returncode != 0:
        problems.append(f"exit code {done.returncode}, {done.stderr.strip()}")
    return place.outcome(f"after call {number}", kills, problems + place.finish(), keeps)


def time_round(laboratory, mode, source, keeps):
    """Kills the large conversion one to three times at random moments."""
    place = Place(laboratory, laboratory.large, mode, f"{mode} {source.randrange(1 << 62):x}")
    seconds, moments, kills, problems = laboratory.large.seconds, [], 0, []
    for _ in range(source.randint(1, 3)):
        moments.append(source.uniform(0, 1.1 * seconds[mode]))
        process, began = laboratory.start(place.command), time.monotonic()
        try:
            process.wait(moments[-1])
            if not kills:  # the machine is less busy than it was
                seconds[mode] = min(seconds[mode], time.monotonic() - began)
        except subprocess.TimeoutExpired:
            process.kill()
        status = process.wait()
        kills += status == -signal.SIGKILL
        problems += place.problems()
        if status != -signal.SIGKILL:
            problems += [f"exit code {status}"] if status not in (0, DONE) else []
            break
    text = ", ".join(f"{moment:.4f}" for moment in moments)
    return place.outcome(f"after {text} s", kills, problems + place.finish(), keeps)
