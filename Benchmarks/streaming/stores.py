"""Layer stores to measure with: random checkpoints of a shape, converted, and stores whose layers are one shard under
many names. A module, not a program.

A store of repeated layers needs the disk of one: every layer's shard is a hard link to the same file, which direct
reads fetch from the disk anew each time. (A host below a virtual disk may cache it, so such stores are for measuring
memory and bytes, not speed.)
"""
import copy
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

from make_checkpoint import SHAPES
from measuring import ROOT, fail, folder_bytes, note

sys.path.insert(0, str(ROOT / "formats" / "golden"))
from make import sealed  # noqa: E402, the manifest's canonical JSON and its digest of itself

DISTINCT_LAYERS = 8  # drawing random numbers takes longer than writing them
STORED_SHARE = 0.70  # of BF16 bytes, at most, with every lossless codec
SPARE = 2e9  # what is left free, and more than anything small takes


@dataclasses.dataclass
class Store:
    """A converted model."""
    path: pathlib.Path
    source_bytes: int
    is_repeated: bool

    def remark(self):
        """What a reader of the results must know about the weights."""
        stored = folder_bytes(self.path)
        text = (f"Random BF16 weights, {self.source_bytes / 1e9:.2f} GB, stored in {stored / 1e9:.2f} GB (ratio "
                f"{self.source_bytes / stored:.3f})")
        if not self.is_repeated:
            return f"{text}; {DISTINCT_LAYERS} layers differ, the others repeat their weights in files of their own."
        return (f"{text}; **the layers are one shard, hard-linked**: direct reads fetch each link anew, but a host "
                "below may cache repeated blocks, so only memory and bytes are claimed.")


def free_bytes(folder):
    return shutil.disk_usage(folder).free


def need(folder, size, what):
    if free_bytes(folder) < size + SPARE:
        fail(f"{what} needs {(size + SPARE) / 1e9:.0f} GB in {folder}, {free_bytes(folder) / 1e9:.1f} GB are free")


def make_checkpoint(folder, *arguments):
    """Makes a checkpoint unless it is there; an unfinished one is made anew."""
    if (folder / "config.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, pathlib.Path(__file__).with_name("make_checkpoint.py"), folder, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def convert(programs, checkpoint, store):
    """Converts and deletes the checkpoint."""
    note(f"+ lamina-convert {checkpoint} {store}")
    subprocess.run(programs.convert(checkpoint, store), check=True, stdout=sys.stderr)
    shutil.rmtree(checkpoint)


def model_store(programs, folder, name, repeated=None):
    """The store of a shape, made in `folder` unless it is there. With `repeated` its layers are one shard; None means
    only if the disk is too small for others, which is then said."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = SHAPES[name]
    whole, linked = folder / f"random-{name}.lamina", folder / f"random-{name}-repeated.lamina"
    if not repeated and (whole / "manifest.json").exists():
        return Store(whole, shape.bytes(), False)
    if repeated is None:
        # The checkpoint is deleted only when its store is complete.
        repeated = free_bytes(folder) < shape.bytes() * (1 + STORED_SHARE) + SPARE
        if repeated:
            note(f"{free_bytes(folder) / 1e9:.0f} GB are free: too few for a store of its own for every layer; the "
                 "layers will be one, hard-linked")
    if repeated:
        if not (linked / "manifest.json").exists():
            make_linked(programs, folder, name, linked)
        return Store(linked, shape.bytes(), True)
    need(folder, shape.bytes() * (1 + STORED_SHARE), f"the store of the {name} shape")
    checkpoint = folder / f"random-{name}"
    make_checkpoint(checkpoint, "--shape", name, "--distinct-layers", DISTINCT_LAYERS)
    convert(programs, checkpoint, whole)
    return Store(whole, shape.bytes(), False)


def quantized_store(programs, folder, name, scheme, full):
    """The store of a shape in a scheme, made of the full one in `folder` unless it is there."""
    target = folder / f"random-{name}-{scheme}.lamina"
    if not (target / "manifest.json").exists():
        note(f"+ lamina-quantize {full} {target}")
        subprocess.run(programs.quantize(full, target, scheme), check=True, stdout=sys.stderr)
    return target


def make_linked(programs, folder, name, target):
    """Converts a checkpoint with a single layer of the shape and repeats that."""
    shape = dataclasses.replace(SHAPES[name], layers=1)
    need(folder, shape.bytes() * (1 + STORED_SHARE), f"one layer of the {name} shape")
    checkpoint, single = folder / f"random-{name}-one-layer", folder / f"random-{name}-one-layer.lamina"
    if not (single / "manifest.json").exists():
        make_checkpoint(checkpoint, "--shape", name, "--layers", 1)
        convert(programs, checkpoint, single)
    repeat_layer(single, target, SHAPES[name].layers)
    shutil.rmtree(single)
    subprocess.run(programs.verify(target, "--quick"), check=True, stdout=sys.stderr)


def repeat_layer(single, target, layers):
    """Makes the store `target`: the one with a single layer, with that layer `layers` times. Shards are hard links."""
    manifest = json.loads((single / "manifest.json").read_bytes())
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(single / "side", target / "side")
    (target / "layers").mkdir()
    shards = []
    for shard in manifest["shards"]:
        for index in range(layers) if shard["layer"] == "0" else [None]:
            copied = copy.deepcopy(shard)
            if index is not None:
                copied |= {"path": f"layers/{index:04}.h5", "layer": str(index)}
                for tensor in copied["tensors"]:
                    tensor["name"] = tensor["stored_name"].replace("*", str(index))
            os.link(single / shard["path"], target / copied["path"])
            shards.append(copied)
    config = json.loads((target / "side/config.json").read_bytes())
    config["num_hidden_layers"] = layers
    (target / "side/config.json").write_text(json.dumps(config, indent=2) + "\n")
    manifest["shards"] = shards
    for entry in manifest["side"]:
        content = (target / entry["path"]).read_bytes()
        entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["root_digest"] = root_digest(manifest)
    (target / "manifest.json").write_bytes(sealed(manifest))


def root_digest(manifest):
    """Over the files' digests, in the order of their paths' bytes."""
    files = sorted(manifest["shards"] + manifest["side"], key=lambda file: file["path"].encode())
    return hashlib.sha256(b"".join(bytes.fromhex(file["sha256"]) for file in files)).hexdigest()
