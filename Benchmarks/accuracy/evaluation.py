"""What measurements of accuracy share: their options, checkpoints, and the evaluations of Lamina and of llama.cpp. A
module, not a program. Needs numpy.
"""
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REFERENCE_TEXT = ROOT / "Sources/CReferenceText/reference_text.txt"


def add_arguments(parser):
    """Arguments that all scripts have."""
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--llama", type=pathlib.Path, required=True, help="the folder llama.cpp was built in")
    parser.add_argument("--windows", type=int, help="default: all of the text")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--text", type=pathlib.Path, default=REFERENCE_TEXT)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / ".build/release", help="where our programs are")


def run(*command):
    """What a command prints, on both ways; it must succeed."""
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done


class Checkpoint:
    """A folder with one model.safetensors in BF16, FP16 or FP32."""

    def __init__(self, folder):
        self.folder = folder
        self.config = json.loads((folder / "config.json").read_text())
        self._data = np.memmap(folder / "model.safetensors", np.uint8, "r")
        size = int.from_bytes(bytes(self._data[:8]), "little")
        header = json.loads(bytes(self._data[8:8 + size]))
        self._entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        self._start = 8 + size
        self.shapes = {name: tuple(entry["shape"]) for name, entry in self._entries.items()}

    @property
    def weight_count(self):
        return sum(map(math.prod, self.shapes.values()))

    def side_files(self):
        """All files but the weights."""
        return [path for path in self.folder.iterdir() if path.is_file() and path.suffix != ".safetensors"]

    def _raw(self, name):
        begin, end = self._entries[name]["data_offsets"]
        return self._data[self._start + begin:self._start + end]

    def byte_count(self, name):
        return self._raw(name).size

    def values(self, name):
        """A tensor in FP32, in its shape."""
        raw, dtype = self._raw(name), self._entries[name]["dtype"]
        if dtype == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = raw.view({"F16": np.float16, "F32": np.float32}[dtype]).astype(np.float32)
        return values.reshape(self.shapes[name])

    def write(self, target, change=None):
        """The checkpoint in FP32; `change` gives other values for a tensor's name and values."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in self.side_files():
            shutil.copy(path, target)
        (target / "config.json").write_text(json.dumps({**self.config, "torch_dtype": "float32"}, indent=1))
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name, shape in self.shapes.items():
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * math.prod(shape)]}
            offset += 4 * math.prod(shape)
        text = json.dumps(header).encode()
        partial = target / "model.partial"
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, shape in self.shapes.items():
                values = self.values(name)
                if change:
                    values = change(name, values).reshape(shape)
                file.write(np.ascontiguousarray(values, "<f4").tobytes())
        partial.rename(target / "model.safetensors")


class Llama:
    """llama.cpp as Benchmarks/peers/llama_cpp/build makes it, and its evaluations."""

    def __init__(self, options):
        self._options = options
        self.programs = options.llama.resolve() / "build/bin"
        self.sources = next(options.llama.resolve().glob("*/vendor/llama.cpp"), None)
        if self.sources is None:
            sys.exit(f"error: there is no llama.cpp in {options.llama}")

    def convert(self, checkpoint, target, outtype):
        """A GGUF file of a checkpoint, unless it is there."""
        if not target.exists():
            partial = target.with_suffix(".partial")
            run(sys.executable, self.sources / "convert_hf_to_gguf.py", checkpoint, "--outtype", outtype, "--outfile",
                partial)
            partial.rename(target)
        return target

    def _evaluate(self, file, *arguments):
        done = run(self.programs / "llama-perplexity", "-m", file, "-c", self._options.context, *arguments)
        return done.stdout + done.stderr

    def perplexity(self, file, base=None):
        """Of the text; `base` receives the logits that others are compared with."""
        arguments = ["-f", self._options.text]
        if self._options.windows:
            arguments += ["--chunks", self._options.windows]
        if base:
            arguments += ["--kl-divergence-base", base]
        return float(re.search(r"Final estimate: PPL = ([0-9.]+)", self._evaluate(file, *arguments)).group(1))

    def divergence(self, file, base):
        """The values that --kl-divergence reports, by the names it gives them."""
        output = self._evaluate(file, "--kl-divergence-base", base, "--kl-divergence")
        return {name: float(value) for name, value in re.findall(r"^(.+?)\s*:\s*(-?\d+\.\d+)\b", output, re.MULTILINE)}


def evaluation(options, program, *arguments):
    """What one of our programs says about the text."""
    command = [options.bin / program, *arguments, "--text", options.text, "--ctx", options.context, "--json", "--quiet"]
    if options.windows:
        command += ["--windows", options.windows]
    return json.loads(run(*command).stdout)
