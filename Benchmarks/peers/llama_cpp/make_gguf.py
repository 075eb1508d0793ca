#!/usr/bin/env python3
"""Writes a GGUF file in BF16 with the same random weights as Benchmarks/streaming/make_checkpoint.py draws for a shape,
for measuring llama.cpp's speed. It has no tokenizer, which llama-bench does not need.

  make_gguf.py FILE [--shape 8b] [--layers N] [--distinct-layers 8] [--synthetic-q4-0] [--gguf DIR]

With --synthetic-q4-0 the types are those of llama-quantize's Q4_0 (the head Q6_K) and the codes random, without weights
they came from: for speed as good, and without a BF16 file of four times the size.

--gguf is the folder of llama.cpp's Python package gguf, unless that is installed. Needs numpy.
"""
import argparse
import dataclasses
import pathlib
import shutil
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "streaming"))
from make_checkpoint import SHAPES, byte_count, original, values  # noqa: E402

CONTEXT = 8192
SYNTHETIC_SHARE = 0.34  # of BF16 bytes, at most
# The checkpoint's name of a layer's tensor -> llama.cpp's.
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
OTHER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem in OTHER_NAMES:
        return OTHER_NAMES[stem] + ".weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[part]}.weight"


def interleaved(bits, heads):
    """llama.cpp wants the two halves of every head's rows of queries and keys interleaved."""
    rows, columns = bits.shape
    return bits.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tensor_bits(index, name, tensor_shape, model):
    """What is stored: float32 for norms, BF16 bits as bytes for matrices."""
    bits = np.concatenate(list(values(index, tensor_shape, seed=0))).reshape(tensor_shape)
    if len(tensor_shape) == 1:
        return (bits.astype("<u4") << 16).view("<f4")
    for part, heads in (("q_proj", model.heads), ("k_proj", model.kv_heads)):
        if part in name:
            bits = interleaved(bits, heads)
    return np.ascontiguousarray(bits).view(np.uint8)


def tied_or_head(name, model):
    return name == ("model.embed_tokens.weight" if model.is_tied else "lm_head.weight")


def synthetic_blocks(random, types, kind, rows, columns):
    """Random codes of Q4_0 or Q6_K, the scales such that weights are about as large as the checkpoint's."""
    if kind == types.Q4_0:
        blocks = random.integers(0, 256, (rows, columns // 32, 18), np.uint8)
        blocks[..., :2] = np.frombuffer(np.float16(0.0044).tobytes(), np.uint8)
    else:
        blocks = random.integers(0, 256, (rows, columns // 256, 210), np.uint8)
        blocks[..., 192:208] = 16
        blocks[..., 208:] = np.frombuffer(np.float16(0.02 / (16 * 18.5)).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def write_synthetic(path, model, gguf):
    types, random = gguf.GGMLQuantizationType, np.random.Generator(np.random.PCG64(0))
    writer = gguf.GGUFWriter(path, "llama")
    add_settings(writer, model, gguf, gguf.LlamaFileType.MOSTLY_Q4_0)
    kinds = {name: types.Q6_K if tied_or_head(name, model) else types.Q4_0
             for name, shape in model.tensors() if len(shape) == 2}
    row_bytes = {types.Q4_0: lambda columns: columns // 32 * 18, types.Q6_K: lambda columns: columns // 256 * 210}
    for name, shape in model.tensors():
        if len(shape) == 1:
            writer.add_tensor_info(gguf_name(name), shape, np.dtype("float32"), 4 * shape[0])
        else:
            stored = (shape[0], row_bytes[kinds[name]](shape[1]))
            writer.add_tensor_info(gguf_name(name), stored, np.dtype("uint8"), stored[0] * stored[1],
                                   raw_dtype=kinds[name])
    write_head(writer)
    for name, shape in model.tensors():
        writer.write_tensor_data(np.ones(shape, "<f4") if len(shape) == 1
                                 else synthetic_blocks(random, types, kinds[name], *shape))
    writer.close()


def write_head(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def add_settings(writer, model, gguf, file_type):
    writer.add_vocab_size(model.vocabulary)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(model.hidden)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.intermediate)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("none")


def write(path, model, distinct, gguf):
    writer = gguf.GGUFWriter(path, "llama")
    add_settings(writer, model, gguf, gguf.LlamaFileType.MOSTLY_BF16)
    tensors = list(model.tensors())
    for name, shape in tensors:
        if len(shape) == 1:
            writer.add_tensor_info(gguf_name(name), shape, np.dtype("float32"), 4 * shape[0])
        else:
            writer.add_tensor_info(gguf_name(name), (shape[0], 2 * shape[1]), np.dtype("uint8"), byte_count(shape),
                                   raw_dtype=gguf.GGMLQuantizationType.BF16)
    write_head(writer)
    index_of = {name: index for index, (name, _) in enumerate(tensors)}
    for name, shape in tensors:
        # Drawn again for a layer that repeats: a tensor at a time is what is kept in memory.
        writer.write_tensor_data(tensor_bits(index_of[original(name, distinct)], name, shape, model))
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--distinct-layers", type=int, default=8)
    parser.add_argument("--synthetic-q4-0", action="store_true", help="random codes instead of BF16")
    parser.add_argument("--gguf", type=pathlib.Path)
    options = parser.parse_args()
    if options.gguf:
        sys.path.insert(0, str(options.gguf))
    import gguf

    model = SHAPES[options.shape]
    model = dataclasses.replace(model, layers=options.layers or model.layers)
    free = shutil.disk_usage(options.file.parent).free
    wanted = model.bytes() * (SYNTHETIC_SHARE if options.synthetic_q4_0 else 1.02)
    if free < wanted:
        sys.exit(f"error: {options.file.parent} lacks {(wanted - free) / 1e9:.2f} GB")
    partial = options.file.with_suffix(".partial")
    if options.synthetic_q4_0:
        write_synthetic(partial, model, gguf)
    else:
        write(partial, model, options.distinct_layers, gguf)
    partial.rename(options.file)  # a file under its name is complete
    print(f"{options.file}: {options.file.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
