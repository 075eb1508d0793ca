"""Lamina's programs as the measurements run them, and their reports. Names of options and of fields are here and
nowhere else. A module, not a program.
"""
import json
import math
import os
import pathlib
import re
import subprocess
import sys

from measuring import ROOT, fail

# What a report has to say -> the paths it may stand under, the first that is there counts.
FIELDS = {
    "forecast": ["forecast"],
    "forecast_seconds": ["seconds_per_token", "seconds_per_step", "decode.seconds_per_token"],
    "forecast_bytes": ["bytes_per_token", "bytes_per_step"],
    "forecast_rate": ["disk_bytes_per_second", "disk.bytes_per_second"],
    "forecast_compute": ["compute_seconds", "decode.compute_seconds"],
    "forecast_achieved": ["achieved_disk_bytes_per_second"],
    "io_mode": ["timings.io_mode", "timings.read_mode"],
    "io_depth": ["timings.io_depth"],
    "prompt_seconds": ["timings.prompt_seconds"],
    "generation_seconds": ["timings.generation_seconds"],
    "generation_rate": ["timings.generation_tokens_per_second"],
    "generation_passes": ["timings.generation_passes"],
    "generation_bytes": ["timings.generation_bytes"],
    "bytes_per_token": ["timings.bytes_per_token"],
    "bytes_read": ["timings.bytes_read"],
    "pass_bytes": ["timings.pass_bytes"],
    "resident_bytes": ["timings.resident_bytes"],
    "hit_rate": ["timings.hit_rate"],
    "compute_seconds": ["timings.compute_seconds"],
    "peak_bytes": ["peak_memory_bytes", "timings.peak_memory_bytes"],
    "bits": ["bits_per_weight"],
    "isa": ["timings.isa"],
    "planned_memory": ["planned_bytes"],
    "experts": ["experts"],
    "expert_hit_rate": ["timings.expert_hit_rate"],
}


def found(document, path):
    """The value under a path of keys joined by dots; None if there is none."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


class Report:
    """The JSON object a program printed."""

    def __init__(self, text):
        self.document = json.loads(text)

    def get(self, name, document=None):
        """A field, or None."""
        values = (found(document or self.document, path) for path in FIELDS[name])
        return next((value for value in values if value is not None), None)

    def __getitem__(self, name):
        value = self.get(name)
        if value is None:
            fail(f"the report has none of {', '.join(FIELDS[name])}: {json.dumps(self.document)[:1000]}")
        return value

    def forecast(self, name):
        """A field of the forecast, or None."""
        forecast = self.get("forecast") or self.document
        return self.get("forecast_" + name, forecast)

    @property
    def passes(self):
        """Passes over the weights after the prompt's."""
        return self.get("generation_passes") or round(self["generation_rate"] * self["generation_seconds"])

    @property
    def pass_seconds(self):
        return self["generation_seconds"] / self.passes

    @property
    def pass_read(self):
        """Bytes read per pass after the prompt's."""
        total = self.get("generation_bytes")
        return total / self.passes if total is not None else self["bytes_per_token"]


class Programs:
    """The executables in a folder; built first if none is given."""

    def __init__(self, folder):
        if folder is None:
            build = ["swift", "build", "-c", "release", "--package-path", ROOT]
            subprocess.run(build, check=True, stdout=sys.stderr)
            shown = subprocess.run(build + ["--show-bin-path"], check=True, capture_output=True, text=True)
            folder = pathlib.Path(shown.stdout.strip())
        self.folder = folder.resolve()
        if not (self.folder / "lamina-run").exists():
            fail(f"there are no programs in {self.folder}", "build them: swift build -c release")

    def version(self):
        text = subprocess.run([self.folder / "lamina-run", "--version"], capture_output=True, text=True).stdout
        return " / ".join(text.split("\n")[:3])

    def check_isa(self, isa):
        """Ends this script if the machine lacks an instruction set."""
        told = subprocess.run([self.folder / "lamina-run", "--version"], capture_output=True, text=True,
                              env=os.environ | {"LAMINA_ISA": isa}).stdout
        if not re.search(rf"^instruction set {re.escape(isa)}$", told, re.MULTILINE):
            fail(f"LAMINA_ISA={isa} is not to be had here", "name others with --isas")

    def convert(self, checkpoint, store):
        return [self.folder / "lamina-convert", "convert", "--quiet", checkpoint, store]

    def verify(self, store, *level):
        return [self.folder / "lamina-verify", "--quiet", store, *level]

    def generate(self, store, budget, tokens, prompt=(1, 2, 3, 4)):
        return [self.folder / "lamina-run", "generate", store, "--ids", ",".join(map(str, prompt)), "--temp", "0",
                "--ignore-eos", "--json", "--quiet", "--max-tokens", str(tokens), "--memory", str(budget)]

    def quantize(self, store, target, scheme, *more):
        """`scheme` as --keep has it: ecq@4.25 is ecq with 4.25 bits."""
        name, *bits = scheme.split("@")
        return [self.folder / "lamina-quantize", "quantize", "--quiet", "--json", store, target, "--scheme", name,
                *(["--bits", *bits] if bits else []), *more]

    def compare(self, full, quantized, budget, windows):
        return [self.folder / "lamina-quantize", "compare", full, quantized, "--windows", str(windows), "--compute",
                "int8", "--memory", str(budget), "--json", "--quiet"]

    def plan(self, store, budget):
        return [self.folder / "lamina-run", "plan", store, "--memory", str(budget), "--json"]

    def batch(self, store, budget, tokens, prompts, answers):
        command = [self.folder / "lamina-run", "batch"]
        told = subprocess.run([*command, "--help"], capture_output=True, text=True).stdout
        wanted = ["--temp", "0"] * ("--temp " in told) + ["--ignore-eos"] * ("--ignore-eos" in told)
        return [*command, store, "--input", prompts, "--output", answers, "--max-tokens", str(tokens), "--memory",
                str(budget), "--json", "--force", *wanted]


def prompt_ids(count, number=0, vocabulary=128256):
    """`count` token ids, for every number others; none of the first few, which tend to be special."""
    return [1000 + (number * 7919 + position * 104729) % (vocabulary - 1000) for position in range(count)]


def write_prompts(path, prompts, tokens):
    """A file for `batch`: so many prompts of so many tokens each."""
    lines = (json.dumps({"ids": prompt_ids(tokens, number)}) for number in range(prompts))
    path.write_text("\n".join(lines) + "\n")


def add_arguments(parser, rounds=5):
    """Arguments that all scripts have."""
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--bin", type=pathlib.Path, help="where the programs are; built if not given")


def relative(value, reference):
    """By how much a value is off, in percent with its sign; "–" without a reference."""
    if not reference or value is None or math.isnan(value):
        return "–"
    return f"{100 * (value / reference - 1):+.1f} %"
