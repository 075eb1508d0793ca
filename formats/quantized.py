#!/usr/bin/env python3
"""Reads quantized slots: the decoded bytes of a chunk of whole panels into its f32 weights, for every scheme. A short
reader to check quantization.md against, not a fast one.

  quantized.py SCHEME COLUMNS FIRST_ROW ROWS SLOT OUTPUT   the weights of a file with a slot, rows x columns of f32;
                                                           FIRST_ROW is the matrix's row of the slot's first
"""
import pathlib
import sys

import numpy as np

ROWS, BLOCK, CHAIN = 16, 32, 512
ESCAPES, NO_ESCAPE = 4, 0x8080808080808080
F32 = np.float32

NF4 = np.array([-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0, 0.0795803,
                0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0], F32)
Q4 = np.array([-127, -100, -79, -62, -47, -34, -21, -9, 2, 13, 25, 37, 50, 65, 82, 106], F32)


def dynamic_map():
    """bitsandbytes' signed dynamic map: seven decades, each with twice as many values as the one below."""
    positive = []
    for i in range(7):
        # As torch.linspace has them: counted from the nearer end, products and sums rounded once (double holds them).
        parts, begin = 2 ** i, float(F32(0.1))
        step = float((F32(1) - F32(0.1)) / F32(parts))
        edges = [F32(begin + step * j) if j <= parts // 2 else F32(1 - step * (parts - j)) for j in range(parts + 1)]
        positive += [F32(10.0 ** (i - 6)) * ((a + b) / F32(2)) for a, b in zip(edges, edges[1:])]
    return np.array(sorted([-value for value in positive] + [F32(0)] + positive + [F32(1)]), F32)


def bf16(words):
    return (words.astype(np.uint32) << 16).view(F32)


def unpacked_bytes(codes):
    """Codes of one byte, [row][k]."""
    return codes.reshape(-1, ROWS, 4).swapaxes(0, 1).reshape(ROWS, -1)


def unpacked_nibbles(codes):
    """Codes of 4 bits, [row][k]."""
    pairs = codes.reshape(-1, ROWS, 4).swapaxes(0, 1)
    return np.stack([pairs & 15, pairs >> 4], 2).reshape(ROWS, -1)


def padded(size, multiple):
    return -(-size // multiple) * multiple


def row8_panel(data, columns, row):
    """Steps, escapes, codes."""
    steps = bf16(data[:32].view("<u2"))
    codes = unpacked_bytes(data[64:64 + padded(columns, BLOCK) * ROWS]).astype(np.int32) - 128
    for escape in data[32:64].view("<u8").tolist():
        if escape != NO_ESCAPE:
            codes[escape >> 16 & 15, escape >> 24] = np.uint16(escape & 0xffff).astype(np.int16)
    return codes.astype(F32) * steps[:, None], 64 + codes.size


def chain_panel(data, columns, row, values, unpacked, bits):
    """Chains of 512 columns: super-scales, scales, codes."""
    parts, at = [], 0
    for k in range(0, padded(columns, BLOCK), CHAIN):
        count = min(CHAIN, padded(columns, BLOCK) - k)
        supers, at = data[at:at + 64].view("<f4"), at + 64
        scales = data[at:at + count // BLOCK * ROWS].view(np.int8).reshape(-1, ROWS).astype(F32) * supers
        at += padded(count // BLOCK * ROWS, 64)
        codes, at = unpacked(data[at:at + count * ROWS * bits // 8]), at + count * ROWS * bits // 8
        parts.append(values[codes] * np.repeat(scales.T, BLOCK, 1))
    return np.concatenate(parts, 1), at


def flat_scales(columns, row, block):
    """The entry of each (row, k): which of the blocks that the row of the flattened matrix touches."""
    first = (row + np.arange(ROWS)[:, None]) * columns
    return (first + np.minimum(np.arange(padded(columns, BLOCK)), columns - 1)) // block - first // block


def flat_entries(columns, block):
    return columns // block if columns % block == 0 else (columns - 1) // block + 2


def flat_panel(data, columns, row, values, unpacked, bits, block, kind):
    """Scales of the flattened matrix's blocks, then codes."""
    count, size, supers, at = flat_entries(columns, block) * ROWS, np.dtype(kind).itemsize, F32(1), 0
    if kind == "u1":
        supers, at = data[:64].view("<f4"), 64
    scales = data[at:at + count * size].view(kind).astype(F32).reshape(-1, ROWS) * supers
    at += padded(count * size, 64)
    end = at + padded(columns, BLOCK) * ROWS * bits // 8
    return values[unpacked(data[at:end])] * scales[flat_scales(columns, row, block), np.arange(ROWS)[:, None]], end


SIGNED = np.arange(-128, 128).astype(F32)
PANELS = {
    "row8": row8_panel,
    "q8": lambda *place: chain_panel(*place, SIGNED, unpacked_bytes, 8),
    "q4": lambda *place: chain_panel(*place, Q4, unpacked_nibbles, 4),
    "nf4": lambda *place: flat_panel(*place, NF4, unpacked_nibbles, 4, 64, "<f2"),
    "nf4-double": lambda *place: flat_panel(*place, NF4, unpacked_nibbles, 4, 64, "u1"),
    "int8-dynamic": lambda *place: flat_panel(*place, dynamic_map(), unpacked_bytes, 8, 2048, "<f4"),
}


def slot_weights(scheme, slot, columns, first_row, rows):
    """The f32 matrix [rows, columns] in a slot, an array of bytes."""
    panels, at = [np.empty((0, columns), F32)], 0
    for panel in range(-(-rows // ROWS)):
        weights, size = PANELS[scheme](slot[at:], columns, first_row + panel * ROWS)
        panels.append(weights[:, :columns])
        at += size
    return np.concatenate(panels)[:rows]


def main():
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    scheme, (columns, first_row, rows) = sys.argv[1], map(int, sys.argv[2:5])
    slot = np.frombuffer(pathlib.Path(sys.argv[5]).read_bytes(), np.uint8)
    slot_weights(scheme, slot, columns, first_row, rows).tofile(sys.argv[6])


if __name__ == "__main__":
    main()
