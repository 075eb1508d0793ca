"""Small checkpoints of Llama in several safetensors files, with the standard library alone. A module, not a program."""
import dataclasses
import json
import random

# The high bytes of BF16 numbers like trained weights: both signs, eight exponents, the middle ones oftener.
HIGH_BYTES = [0x3D, 0xBD, 0x3C, 0xBC, 0x3C, 0xBC, 0x3B, 0xBB, 0x3D, 0xBD, 0x3A, 0xBA, 0x3C, 0xBC, 0x39, 0xB9]
HIGH_TABLE = bytes(HIGH_BYTES[index % 16] for index in range(256))


@dataclasses.dataclass
class Sizes:
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    heads: int = 4
    kv_heads: int = 2

    @property
    def head_dim(self):
        return self.hidden // self.heads

    def tensors(self):
        """(name, shape) in the order of a forward pass; the last two belong to no layer that is used."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        yield "model.embed_tokens.weight", [self.vocabulary, self.hidden]
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            yield prefix + "input_layernorm.weight", [self.hidden]
            yield prefix + "self_attn.q_proj.weight", [query, self.hidden]
            yield prefix + "self_attn.k_proj.weight", [key, self.hidden]
            yield prefix + "self_attn.v_proj.weight", [key, self.hidden]
            yield prefix + "self_attn.o_proj.weight", [self.hidden, query]
            yield prefix + "post_attention_layernorm.weight", [self.hidden]
            yield prefix + "mlp.gate_proj.weight", [self.intermediate, self.hidden]
            yield prefix + "mlp.up_proj.weight", [self.intermediate, self.hidden]
            yield prefix + "mlp.down_proj.weight", [self.hidden, self.intermediate]
        yield "model.norm.weight", [self.hidden]
        yield "lm_head.weight", [self.vocabulary, self.hidden]
        yield "model.layers.0.self_attn.rotary_emb.inv_freq", [self.head_dim // 2]
        yield "model.something.nobody.uses", [3, 50]

    def config(self):
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
                "hidden_size": self.hidden, "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim,
                "vocab_size": self.vocabulary, "max_position_embeddings": 256, "rms_norm_eps": 1e-05,
                "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}


def weights(count, source):
    """`count` BF16 numbers."""
    result = bytearray(2 * count)
    result[0::2], result[1::2] = source.randbytes(count), source.randbytes(count).translate(HIGH_TABLE)
    return bytes(result)


def write_file(path, tensors):
    """(name, shape, bytes) of each tensor."""
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, data in tensors:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors:
            file.write(data)


def write_checkpoint(folder, sizes, files, seed):
    """In `files` files of about the same size, whose ends fall where they fall: layers have tensors in two of them."""
    folder.mkdir()
    source = random.Random(seed)
    tensors = []
    for name, shape in sizes.tensors():
        count = 1
        for dimension in shape:
            count *= dimension
        tensors.append((name, shape, weights(count, source)))
    total, position = sum(len(data) for _, _, data in tensors), 0
    parts = [[] for _ in range(files)]
    for tensor in tensors:
        parts[min(files - 1, position * files // total)].append(tensor)
        position += len(tensor[2])
    weight_map = {}
    for number, part in enumerate(parts):
        name = f"model-{number + 1:05}-of-{files:05}.safetensors"
        write_file(folder / name, part)
        weight_map |= {tensor: name for tensor, _, _ in part}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(sizes.config()))
