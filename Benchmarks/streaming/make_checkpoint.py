#!/usr/bin/env python3
"""Writes a BF16 Llama checkpoint with random weights, N(0, 0.02), for measuring speed: the shape of Llama 3.2 1B unless
told otherwise. The same arguments give the same bytes. Memory stays below 200 MB whatever the size.

  make_checkpoint.py FOLDER [--layers 16] [--hidden 2048] [--intermediate 8192] [--heads 32] [--kv-heads 8]
                            [--head-dim 64] [--vocabulary 128256] [--untied] [--seed 0] [--file-bytes 1000000000]

For the shape of Llama 3.1 8B: --layers 32 --hidden 4096 --intermediate 14336 --head-dim 128 --untied
"""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np

BLOCK_ELEMENTS = 1 << 22  # generated at a time


def model_config(options):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": options.head_dim,
        "hidden_act": "silu",
        "hidden_size": options.hidden,
        "intermediate_size": options.intermediate,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "num_attention_heads": options.heads,
        "num_hidden_layers": options.layers,
        "num_key_value_heads": options.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0,
        "tie_word_embeddings": not options.untied,
        "torch_dtype": "bfloat16",
        "vocab_size": options.vocabulary,
    }


def model_tensors(options):
    """(name, shape) of every tensor, in the order of a forward pass."""
    hidden, query, key = options.hidden, options.heads * options.head_dim, options.kv_heads * options.head_dim
    yield "model.embed_tokens.weight", (options.vocabulary, hidden)
    for layer in range(options.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "self_attn.q_proj.weight", (query, hidden)
        yield prefix + "self_attn.k_proj.weight", (key, hidden)
        yield prefix + "self_attn.v_proj.weight", (key, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, query)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "mlp.gate_proj.weight", (options.intermediate, hidden)
        yield prefix + "mlp.up_proj.weight", (options.intermediate, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, options.intermediate)
    yield "model.norm.weight", (hidden,)
    if options.untied:
        yield "lm_head.weight", (options.vocabulary, hidden)


def byte_count(shape):
    return 2 * int(np.prod(shape, dtype=np.int64))


def grouped(tensors, file_bytes):
    """Lists of tensors that go into one file each: as many as fit, at least one."""
    files, size = [[]], 0
    for name, shape in tensors:
        if files[-1] and size + byte_count(shape) > file_bytes:
            files.append([])
            size = 0
        files[-1].append((name, shape))
        size += byte_count(shape)
    return files


def values(index, shape, seed):
    """The tensor's BF16 bits, block by block: norms are ones, the rest random with a stream of its own."""
    count = byte_count(shape) // 2
    if len(shape) == 1:
        yield np.full(count, 0x3F80, "<u2")
        return
    random = np.random.Generator(np.random.PCG64([seed, index]))
    for start in range(0, count, BLOCK_ELEMENTS):
        block = random.standard_normal(min(BLOCK_ELEMENTS, count - start), np.float32) * np.float32(0.02)
        bits = block.view(np.uint32)
        yield ((bits + (bits >> 16 & 1) + 0x7FFF) >> 16).astype("<u2")  # to nearest, ties to even


def write_file(path, tensors, first_index, seed):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        begin, end = end, end + byte_count(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for index, (_, shape) in enumerate(tensors, start=first_index):
            for block in values(index, shape, seed):
                file.write(block.data)


def parsed_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    for name, value in {"layers": 16, "hidden": 2048, "intermediate": 8192, "heads": 32, "kv-heads": 8,
                        "head-dim": 64, "vocabulary": 128256, "seed": 0, "file-bytes": 1_000_000_000}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--untied", action="store_true", help="a head of its own")
    return parser.parse_args()


def main():
    options = parsed_options()
    files = grouped(model_tensors(options), options.file_bytes)
    total = sum(byte_count(shape) for file in files for _, shape in file)
    options.folder.mkdir(parents=True)
    free = shutil.disk_usage(options.folder).free
    if free < total * 1.02:
        options.folder.rmdir()
        sys.exit(f"error: {total / 1e9:.2f} GB are needed in {options.folder}, {free / 1e9:.2f} GB are free")
    places, index = {}, 0
    for number, tensors in enumerate(files, start=1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        write_file(options.folder / name, tensors, index, options.seed)
        places |= {tensor: name for tensor, _ in tensors}
        index += len(tensors)
    if len(files) > 1:
        listing = {"metadata": {"total_size": total}, "weight_map": places}
        (options.folder / "model.safetensors.index.json").write_text(json.dumps(listing, indent=2) + "\n")
    (options.folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}) + "\n")
    # Last: a folder with a configuration is complete.
    (options.folder / "config.json").write_text(json.dumps(model_config(options), indent=2) + "\n")
    print(f"{options.folder}: {index} tensors, {total / 1e9:.2f} GB in {len(files)} files")


if __name__ == "__main__":
    main()
