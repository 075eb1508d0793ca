"""llama.cpp as these measurements run it: its files of a shape, and llama-bench. A module, not a program."""
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "streaming"))
from make_checkpoint import SHAPES  # noqa: E402
from measuring import fail, note  # noqa: E402
from stores import DISTINCT_LAYERS, need  # noqa: E402

PEER = HERE.parent / "peers/llama_cpp"
FILE_SHARE = {"bf16": 1, "Q8_0": 0.54, "Q4_0": 0.32, "Q4_K_M": 0.34}  # of BF16 bytes, at most


class Llama:
    """The programs in the folder that Benchmarks/peers/llama_cpp/build made."""

    def __init__(self, build):
        self.build = build.resolve()
        self.bench = self.program("llama-bench")

    def program(self, name):
        path = self.build / "build/bin" / name
        if not path.exists():
            fail(f"there is no {path}", f"build it: {PEER}/build {self.build}")
        return path

    def file(self, folder, shape, kind):
        """The shape's random weights in `kind`, made unless they are there: for `synthetic-q4_0` codes that were never
        weights, for other kinds the checkpoint's, quantized by llama-quantize."""
        file = folder / f"random-{shape}-{kind}.gguf"
        if file.exists():
            return file
        need(folder, SHAPES[shape].bytes() * FILE_SHARE.get(kind, 1), f"llama.cpp's {kind} file")
        if kind in ("bf16", "synthetic-q4_0"):
            packages = sorted(self.build.glob("*/vendor/llama.cpp/gguf-py"))
            more = ["--synthetic-q4-0"] if kind != "bf16" else ["--distinct-layers", str(DISTINCT_LAYERS)]
            subprocess.run([sys.executable, PEER / "make_gguf.py", file, "--shape", shape, "--gguf", packages[0],
                            *more], check=True, stdout=sys.stderr)
            return file
        partial = file.with_suffix(".partial")
        subprocess.run([self.program("llama-quantize"), self.file(folder, shape, "bf16"), partial, kind], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return partial.rename(file)

    def command(self, file, *options):
        return [self.bench, "-m", file, "-r", "1", "-o", "jsonl", *map(str, options)]


def samples(output):
    """What llama-bench says, by (tokens of the prompt, tokens generated)."""
    rows = [json.loads(line) for line in output.strip().splitlines() if line.startswith("{")]
    if not rows:
        note(output)
        fail("llama-bench said nothing")
    return {(row["n_prompt"], row["n_gen"]): row for row in rows}
