#!/usr/bin/env python3
"""Writes a BF16 checkpoint of Llama or Mixtral with random weights, N(0, 0.02), for measuring speed. The same arguments give the same
bytes. Memory stays below 200 MB whatever the size.

  make_checkpoint.py FOLDER [--shape 1b|8b|70b|405b|8x7b] [--layers N] [--distinct-layers N] [--hidden N] [--intermediate N]
                            [--heads N] [--kv-heads N] [--head-dim N] [--vocabulary N] [--experts N] [--untied]
                            [--tied]
                            [--seed 0] [--file-bytes 1000000000]

A shape is that of Llama 3.2 1B (the default), Llama 3 8B, 70B, 405B or Mixtral 8x7B; the options after it change it. Random numbers
take longer than writing them: with --distinct-layers N only N layers are drawn, and layer i repeats layer i mod N.
"""
import argparse
import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np

BLOCK_ELEMENTS = 1 << 22  # generated at a time
COPY_BYTES = 1 << 23


@dataclasses.dataclass
class Shape:
    """The sizes of a Llama model, or with experts of a Mixtral one."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    head_dim: int
    is_tied: bool = False
    kv_heads: int = 8
    vocabulary: int = 128256
    experts: int = 0

    def layer_tensors(self):
        """(name within a layer, shape), in the order of a forward pass."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return [("input_layernorm.weight", (self.hidden,)),
                ("self_attn.q_proj.weight", (query, self.hidden)),
                ("self_attn.k_proj.weight", (key, self.hidden)),
                ("self_attn.v_proj.weight", (key, self.hidden)),
                ("self_attn.o_proj.weight", (self.hidden, query)),
                ("post_attention_layernorm.weight", (self.hidden,)), *self.feed_forward_tensors()]

    def feed_forward_tensors(self):
        up, down = (self.intermediate, self.hidden), (self.hidden, self.intermediate)
        if not self.experts:
            return [("mlp.gate_proj.weight", up), ("mlp.up_proj.weight", up), ("mlp.down_proj.weight", down)]
        prefix = "block_sparse_moe."
        return [(prefix + "gate.weight", (self.experts, self.hidden))] + [
            (f"{prefix}experts.{expert}.{name}.weight", shape) for expert in range(self.experts)
            for name, shape in (("w1", up), ("w2", down), ("w3", up))]

    def tensors(self):
        """(name, shape) of every tensor, in the order of a forward pass."""
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden)
        for layer in range(self.layers):
            for name, shape in self.layer_tensors():
                yield f"model.layers.{layer}.{name}", shape
        yield "model.norm.weight", (self.hidden,)
        if not self.is_tied:
            yield "lm_head.weight", (self.vocabulary, self.hidden)

    def bytes(self):
        return sum(byte_count(shape) for _, shape in self.tensors())

    def layer_flops(self):
        """Floating-point operations of all layers' matrices for one token, of dense shapes: two per weight, which has two
        bytes."""
        return self.layers * sum(byte_count(shape) for _, shape in self.layer_tensors() if len(shape) == 2)

    def head_flops(self):
        return 2 * self.vocabulary * self.hidden

    def attention_flops(self, tokens):
        """Of causal attention of `tokens` to each other: half of the scores, and half of their sums of values."""
        return 2 * self.layers * tokens * tokens * self.heads * self.head_dim


SHAPES = {
    "1b": Shape(layers=16, hidden=2048, intermediate=8192, heads=32, head_dim=64, is_tied=True),
    "8b": Shape(layers=32, hidden=4096, intermediate=14336, heads=32, head_dim=128),
    "70b": Shape(layers=80, hidden=8192, intermediate=28672, heads=64, head_dim=128),
    "405b": Shape(layers=126, hidden=16384, intermediate=53248, heads=128, head_dim=128),
    "8x7b": Shape(layers=32, hidden=4096, intermediate=14336, heads=32, head_dim=128, vocabulary=32000, experts=8),
}


def model_config(shape):
    return mixtral_config(shape) if shape.experts else llama_config(shape)


def mixtral_config(shape):
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
             "intermediate_size", "hidden_act", "rms_norm_eps", "tie_word_embeddings", "torch_dtype", "bos_token_id",
             "eos_token_id")
    plain = llama_config(shape)
    return {name: plain[name] for name in names} | {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "max_position_embeddings": 32768,
        "num_experts_per_tok": 2, "num_local_experts": shape.experts, "rope_theta": 1e6, "sliding_window": None}


def llama_config(shape):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0,
        "tie_word_embeddings": shape.is_tied,
        "torch_dtype": "bfloat16",
        "vocab_size": shape.vocabulary,
    }


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


def original(name, distinct):
    """The tensor that this one repeats, or its own name."""
    parts = name.split(".")
    if parts[1] == "layers":
        parts[2] = str(int(parts[2]) % distinct)
    return ".".join(parts)


def blocks_of(path, offset, size):
    with open(path, "rb") as file:
        file.seek(offset)
        for start in range(0, size, COPY_BYTES):
            yield file.read(min(COPY_BYTES, size - start))


class CheckpointWriter:
    """Writes safetensors files one after another, and finds repeated tensors in what is written already."""

    def __init__(self, seed, distinct):
        self.seed, self.distinct = seed, distinct
        self.index = 0
        self.written = {}  # tensor name -> (file, offset, size)

    def write(self, path, tensors):
        header, end = {"__metadata__": {"format": "pt"}}, 0
        for name, shape in tensors:
            begin, end = end, end + byte_count(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, shape in tensors:
                self.written[name] = (path, file.tell(), byte_count(shape))
                source = self.written.get(original(name, self.distinct))
                is_repeated = source != self.written[name]
                file.flush()  # a repeated tensor may be in this very file
                for block in blocks_of(*source) if is_repeated else values(self.index, shape, self.seed):
                    file.write(block if is_repeated else block.data)
                self.index += 1


def parsed_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    for name in ("layers", "hidden", "intermediate", "heads", "kv-heads", "head-dim", "vocabulary", "experts"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--untied", dest="is_tied", action="store_const", const=False, help="a head of its own")
    parser.add_argument("--tied", dest="is_tied", action="store_const", const=True, help="the embedding is the head")
    parser.add_argument("--distinct-layers", type=int, help="layers drawn; the others repeat them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file-bytes", type=int, default=1_000_000_000)
    options = parser.parse_args()
    fields = [field.name for field in dataclasses.fields(Shape)]
    changes = {name: vars(options)[name] for name in fields if vars(options)[name] is not None}
    return options, dataclasses.replace(SHAPES[options.shape], **changes)


def main():
    options, shape = parsed_options()
    files = grouped(shape.tensors(), options.file_bytes)
    total = shape.bytes()
    options.folder.mkdir(parents=True)
    free = shutil.disk_usage(options.folder).free
    if free < total * 1.02:
        options.folder.rmdir()
        sys.exit(f"error: {total / 1e9:.2f} GB are needed in {options.folder}, {free / 1e9:.2f} GB are free")
    writer, places = CheckpointWriter(options.seed, options.distinct_layers or shape.layers), {}
    for number, tensors in enumerate(files, start=1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors" if len(files) > 1 else "model.safetensors"
        writer.write(options.folder / name, tensors)
        places |= {tensor: name for tensor, _ in tensors}
    if len(files) > 1:
        listing = {"metadata": {"total_size": total}, "weight_map": places}
        (options.folder / "model.safetensors.index.json").write_text(json.dumps(listing, indent=2) + "\n")
    (options.folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}) + "\n")
    # Last: a folder with a configuration is complete.
    (options.folder / "config.json").write_text(json.dumps(model_config(shape), indent=2) + "\n")
    print(f"{options.folder}: {writer.index} tensors, {total / 1e9:.2f} GB in {len(files)} files")


if __name__ == "__main__":
    main()
