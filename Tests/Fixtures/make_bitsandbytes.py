#!/usr/bin/env python3
"""What bitsandbytes makes of a few small matrices on a CPU: the codes and scales of NF4 (blocks of 64) and of its dynamic
8-bit map (blocks of 2048).

  make_bitsandbytes.py SMOLLM2 OUTPUT   SMOLLM2: the folder of the SmolLM2-135M checkpoint; OUTPUT: a JSON file, whose
                                        arrays are base64 of little-endian numbers, NF4's codes one in each byte

Needs bitsandbytes, safetensors and torch.
"""
import base64
import json
import pathlib
import sys

import bitsandbytes.functional
import safetensors
import torch

NAME = "model.layers.3.mlp.gate_proj.weight"


def middles(values):
    return (values[:-1] + values[1:]) / 2


def edges():
    """What normal weights do not have: zeros, an outlier, ties, denormal and huge numbers."""
    matrix = torch.zeros(7, 128)
    matrix[1] = torch.linspace(-1e-3, 1e-3, 128)
    matrix[1, 70] = -50
    nf4 = bitsandbytes.functional.get_4bit_type("nf4", device="cpu")
    matrix[2, 0], matrix[2, 1:16], matrix[2, 16:31], matrix[2, 64:80] = 1, middles(nf4), -middles(nf4), nf4 / 3
    dynamic = bitsandbytes.functional.create_dynamic_map()
    matrix[3], matrix[4] = dynamic[::2], middles(dynamic)[::2].repeat(2)[:128]
    matrix[5] = torch.linspace(-1, 1, 128) * 1e-40
    matrix[6, :64] = torch.linspace(-1, 1, 64) * 3e38
    return matrix


def text(array):
    return base64.b64encode(array.contiguous().numpy().tobytes()).decode()


def case(name, matrix):
    packed, nf4 = bitsandbytes.functional.quantize_4bit(matrix, blocksize=64, quant_type="nf4")
    nf4_codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).flatten()[:matrix.numel()]
    dynamic_codes, dynamic = bitsandbytes.functional.quantize_blockwise(matrix, blocksize=2048)
    return {"name": name, "rows": matrix.shape[0], "columns": matrix.shape[1], "weights": text(matrix.float()),
            "nf4Codes": text(nf4_codes), "nf4Maxima": text(nf4.absmax), "dynamicCodes": text(dynamic_codes),
            "dynamicMaxima": text(dynamic.absmax)}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with safetensors.safe_open(pathlib.Path(sys.argv[1]) / "model.safetensors", "pt") as file:
        weights = file.get_tensor(NAME)
    generator = torch.Generator().manual_seed(1)
    cases = [case("SmolLM2 " + NAME, weights[:8]), case("edges", edges()),
             case("rows cross blocks", torch.randn(19, 100, generator=generator) * 0.02),
             case("a last block of one", torch.randn(3, 683, generator=generator).to(torch.bfloat16)),
             case("one weight", torch.tensor([[-0.5]]))]
    pathlib.Path(sys.argv[2]).write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
