#!/usr/bin/env python3
"""Reads a Lamina layer store: every tensor, bit for bit. A short reader to check the format against, not a fast one.

  lamina_store.py STORE                        every tensor's SHA-256 against the manifest
  lamina_store.py STORE --list                 what is in it
  lamina_store.py STORE --compare CHECKPOINT   the files it came from, rebuilt, byte for byte; and what the safetensors
                                               package reads in them
  lamina_store.py STORE --export FOLDER        what lamina-convert export wrote: the values of every tensor

Shards are read as HDF5 (h5py and hdf5plugin), or with --flat through the header in their first bytes (zstandard).
exp-tier and ecq-tier are decoded by Lamina's HDF5 filters where HDF5_PLUGIN_PATH leads to them, otherwise and with
--flat by numpy. Quantized tensors have no SHA-256 that their values could have. It does not check the chunks' own
checksums; lamina-verify does. The format is described in layer-store.md, shard.md and quantization.md.
"""
import argparse
import hashlib
import json
import pathlib
import struct
import sys

import numpy as np

import ecq_tier
import quantized

# In the order of their numbers in the flat header, dtypes from 1, the others from 0.
DTYPES = "BOOL U8 I8 F8_E4M3 F8_E5M2 U16 I16 F16 BF16 U32 I32 F32 U64 I64 F64".split()
SIZES = dict(zip(DTYPES, [1] * 5 + [2] * 4 + [4] * 3 + [8] * 3))
LAYOUTS = ["rows", "panel64", "panel16"]
# What the panels of a scheme are to quantized.py.
FORMS = {"int8-row": "row8", "q8": "q8", "q4": "q4", "nf4": "nf4", "nf4-double": "nf4-double",
         "int8-dynamic": "int8-dynamic", "ecq-tier": "row8", "ecq-huf": "row8"}
PLANES = {"raw": ["data"], "exp-huf": ["exponent", "sign_mantissa"], "fp16-huf": ["high", "low"],
          "fp32-planes": ["exponent", "mantissa_high", "mantissa_middle", "mantissa_low_sign"], "exp-tier": ["words"],
          **{scheme: ["blocks"] for scheme in FORMS}}
# Their numbers in the flat header: schemes from 16.
CODECS = {number if number < 5 else number + 11: codec for number, codec in enumerate(PLANES)}


def segment_words(segment):
    """The BF16 words of one exp-tier segment, an array of bytes."""
    *counts, escapes = segment[:16].view("<u4").tolist()
    exponents, unknown, at = np.empty(counts[0], np.uint8), np.arange(counts[0]), 64
    for tier, count in enumerate(counts):
        assert unknown.size == count, "the tiers of a segment disagree"
        size = -(-count // 64) * 16  # -(-a // b) rounds up
        low, high = np.unpackbits(segment[at:at + size].reshape(-1, 2, 8), axis=2, bitorder="little").swapaxes(0, 1)
        symbols, at = (low + 2 * high).ravel()[:count], at + size
        known = symbols < 3
        exponents[unknown[known]] = segment[16 + 3 * tier:19 + 3 * tier][symbols[known]]
        unknown = unknown[~known]
    assert unknown.size == escapes, "a segment has the wrong number of escapes"
    exponents[unknown] = segment[at:at + escapes]
    at = -(-(at + escapes) // 64) * 64
    rotated = exponents.astype("<u2") << 8 | segment[at:at + counts[0]]
    return rotated >> 1 | rotated << 15


def slot_words(chunk):
    """What an exp-tier chunk decodes to: its slot, as bytes."""
    count, slot = struct.unpack_from("<II", chunk)
    data, words, taken = np.frombuffer(chunk, np.uint8), np.zeros(slot, "<u2"), 0
    for offset, size in struct.iter_unpack("<II", chunk[8:8 + 8 * count]):
        segment = segment_words(data[offset:offset + size])
        words[taken:taken + segment.size] = segment
        taken += segment.size
    return words.view(np.uint8)


def merged(codec, size, planes):
    """Elements, as unsigned integers of `size` bytes, out of a codec's byte planes."""
    if codec in ("raw", "exp-tier"):
        return planes[0].view(f"<u{size}")
    word = np.zeros(planes[0].size, f"<u{size}")
    for plane in planes:  # most significant byte first
        word = word << 8 | plane
    # The others have the sign rotated to the end, so that the exponent is a byte of its own.
    return word if codec == "fp16-huf" else word >> 1 | word << (8 * size - 1)


def narrowed(values, dtype):
    """f32 values in the tensor's dtype, to nearest, ties to even."""
    if dtype != "BF16":
        return values.astype({"F16": "<f2", "F32": "<f4"}[dtype])
    bits = values.view("<u4")
    return (bits + 0x7fff + (bits >> 16 & 1) >> 16).astype("<u2")


def dequantized(tensor, slots):
    """A quantized tensor's values as bytes of its dtype, out of all chunks' slots."""
    *outer, columns = tensor["shape"]
    rows, parts = int(np.prod(outer, dtype=np.int64)), []
    step = tensor["units_per_chunk"] * quantized.ROWS
    for index, slot in enumerate(slots.reshape(-(-rows // step), -1)):
        first = index * step
        parts.append(quantized.slot_weights(
            FORMS[tensor["codec"]], slot, columns, first, min(step, rows - first)))
    return narrowed(np.concatenate(parts), tensor["dtype"]).tobytes()


def rebuilt(tensor, planes):
    """The tensor's bytes in the source's order, out of its planes, each all chunks' slots one after another."""
    if tensor["layout"] == "panel16":
        return dequantized(tensor, planes[0])
    elements = merged(tensor["codec"], SIZES[tensor["dtype"]], planes)
    *outer, columns = tensor["shape"] or [1]
    rows, is_panel = int(np.prod(outer, dtype=np.int64)), tensor["layout"] == "panel64"
    target = np.empty((rows, columns), elements.dtype)
    if target.size == 0:
        return b""
    padded = columns + columns % 2 if is_panel and tensor["dtype"] == "BF16" else columns
    width = min(tensor["columns_per_chunk"], padded)
    ranges, unit_rows = -(-padded // width), 64 if is_panel else 1
    units = -(-rows // unit_rows)
    for index, slot in enumerate(elements.reshape(-(-units // tensor["units_per_chunk"]) * ranges, -1)):
        first, column = index // ranges * tensor["units_per_chunk"], index % ranges * width
        count, taken = min(width, padded - column), 0
        for unit in range(first, min(first + tensor["units_per_chunk"], units)):
            row = unit * unit_rows
            height = min(64, -(-(rows - row) // 16) * 16) if is_panel else 1
            block = slot[taken:taken + height * count]
            taken += height * count
            if not is_panel:
                block = block.reshape(1, count)
            elif tensor["dtype"] == "BF16":  # [k/2][rows][2]
                block = block.reshape(count // 2, height, 2).swapaxes(0, 1).reshape(height, count)
            else:  # [k][rows]
                block = block.reshape(count, height).T
            area = target[row:row + unit_rows, column:column + count]
            area[...] = block[:area.shape[0], :area.shape[1]]  # without the padding
    return target.tobytes()


# Codecs with a filter of Lamina's own: its number, and what decodes their chunks without it.
OWN_FILTERS = {"exp-tier": (44554, slot_words), "ecq-tier": (44555, ecq_tier.slot_bytes)}


def plane_bytes(dataset, codec):
    """All slots of a plane one after another, decoded."""
    import h5py

    number, decode = OWN_FILTERS.get(codec, (None, None))
    if number is None or h5py.h5z.filter_avail(number):
        return dataset[...]
    chunks = (dataset.id.read_direct_chunk((offset,)) for offset in range(0, dataset.size, dataset.chunks[0]))
    return np.concatenate(
        [np.frombuffer(stored, np.uint8) if mask & 1 else decode(stored) for mask, stored in chunks])


def read_hdf5(path):
    """Yields (attributes, bytes) of a shard's tensors out of its HDF5 structure."""
    import h5py
    import hdf5plugin  # noqa: F401, registers the zstd filter

    with h5py.File(path, "r") as file:
        for group in file.values():
            tensor = {key: value.decode() if isinstance(value, bytes) else value
                      for key, value in group.attrs.items()}
            tensor["shape"] = [] if isinstance(tensor["shape"], h5py.Empty) else tensor["shape"].tolist()
            planes = [plane_bytes(group[name], tensor["codec"]) if name in group else np.empty(0, np.uint8)
                      for name in PLANES[tensor["codec"]]]
            yield tensor, rebuilt(tensor, planes)


def read_flat(path):
    """The same through the header in the user block, without any HDF5 library."""
    import zstandard

    # By the number of a chunk's encoding.
    decode = [bytes, zstandard.ZstdDecompressor().decompress, slot_words, ecq_tier.slot_bytes]
    with open(path, "rb") as file:
        magic, version, count, block, size, length = struct.unpack("<8sIIQQQ", file.read(40))
        assert magic == b"\x93LAMINA\n" and version == 1 and size == path.stat().st_size, f"{path}: not a shard"
        file.seek(64)
        table, at = file.read(length), 0
        for _ in range(count):
            name_bytes, dtype, layout, codec, rank, plane_count, units, columns, chunks = struct.unpack_from(
                "<HBBBBHQQQ", table, at)
            shape, at = list(struct.unpack_from(f"<{rank}Q", table, at + 32)), at + 32 + 8 * rank
            name, at = table[at:at + name_bytes].decode(), at + -(-name_bytes // 8) * 8
            tensor = {"name": name, "dtype": DTYPES[dtype - 1], "shape": shape, "layout": LAYOUTS[layout],
                      "codec": CODECS[codec], "units_per_chunk": units, "columns_per_chunk": columns}
            planes = [[] for _ in range(plane_count)]
            for index in range(chunks * plane_count):
                offset, _, stored, encoding = struct.unpack_from("<QQIB", table, at)
                at += 24
                file.seek(offset)
                planes[index % plane_count].append(decode[encoding](file.read(stored)))
            yield tensor, rebuilt(tensor, [np.frombuffer(b"".join(plane), np.uint8) for plane in planes])


def tensors(store, manifest, read):
    """Yields (manifest entry, bytes) of every tensor; the shards' own attributes must agree with the manifest."""
    for shard in manifest["shards"]:
        entries = {entry["stored_name"]: entry for entry in shard["tensors"]}
        for tensor, data in read(store / shard["path"]):
            entry = entries.pop(tensor["name"])
            for key in ("dtype", "shape", "layout", "codec"):
                assert tensor[key] == entry[key], f"{entry['name']}: {key} {tensor[key]} is not {entry[key]}"
            yield entry, data
        assert not entries, f"{shard['path']} lacks {', '.join(entries)}"


def rebuilt_file(store, file, parts):
    """A source file: its tensors in their places, and around them, in order, the bytes of its side file."""
    content, is_free = np.zeros(file["size"], np.uint8), np.ones(file["size"], bool)
    for entry, data in parts:
        place = slice(file["data_offset"] + entry["source_offset"],
                      file["data_offset"] + entry["source_offset"] + len(data))
        content[place], is_free[place] = np.frombuffer(data, np.uint8), False
    content[is_free] = np.frombuffer((store / file["header"]).read_bytes(), np.uint8)
    return content.tobytes()


def exported(folder):
    """Every tensor of a folder's safetensors files: dtype, shape and bytes by name."""
    import safetensors

    return {name: (info["dtype"], info["shape"], bytes(info["data"]))
            for path in sorted(folder.glob("*.safetensors"))
            for name, info in safetensors.deserialize(path.read_bytes())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--compare", metavar="CHECKPOINT", type=pathlib.Path)
    parser.add_argument("--export", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("--flat", action="store_true")
    options = parser.parse_args()
    manifest = json.loads((options.store / "manifest.json").read_text(encoding="utf-8"))
    if options.list:
        for shard in manifest["shards"]:
            for entry in shard["tensors"]:
                print(shard["path"], entry["name"], entry["dtype"], entry["shape"], entry["layout"], entry["codec"])
        return
    values = exported(options.export) if options.export else {}
    files = manifest["source"]["files"]
    parts, count, total = [[] for _ in files], 0, 0
    for entry, data in tensors(options.store, manifest, read_flat if options.flat else read_hdf5):
        if options.export and values.pop(entry["name"], None) != (entry["dtype"], entry["shape"], data):
            sys.exit(f"{entry['name']}: differs from what was exported")
        if "quantization" not in entry and hashlib.sha256(data).hexdigest() != entry["sha256"]:
            sys.exit(f"{entry['name']}: differs from the manifest's SHA-256")
        if options.compare:
            parts[entry["source_file"]].append((entry, data))
        count, total = count + 1, total + len(data)
    for file, found in zip(files, parts if options.compare else []):
        original = (options.compare / file["path"]).read_bytes()
        if rebuilt_file(options.store, file, found) != original:
            sys.exit(f"{file['path']}: differs from the checkpoint")
        if "format" not in file:
            import safetensors

            listed = {name: (info["dtype"], info["shape"], bytes(info["data"]))
                      for name, info in safetensors.deserialize(original)}
            if listed != {entry["name"]: (entry["dtype"], entry["shape"], data) for entry, data in found}:
                sys.exit(f"{file['path']}: its tensors differ")
    if values:
        sys.exit(f"{', '.join(values)}: exported, but not in the store")
    print(f"{count} tensors, {total} bytes: all equal")


if __name__ == "__main__":
    main()
