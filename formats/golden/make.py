#!/usr/bin/env python3
"""Makes the golden files anew, after a change of format: a tiny checkpoint, the store lamina-convert makes of it, and
the ways in which copies of that store are bad.

  make.py LAMINA_CONVERT

good/checkpoint and good/store.lamina are what every version of the format must agree on; cases.json lists one change
each, the exit code lamina-verify must give and a part of what it must say. Changed manifests in bad/ have their digest
of themselves made right again, so that only their content is wrong.
"""
import hashlib
import json
import pathlib
import shutil
import struct
import subprocess
import sys

HIDDEN, HEADS, INTERMEDIATE, VOCABULARY = 16, 2, 24, 20


def weights(count, state):
    """BF16 numbers between -1 and 1 from a linear congruential generator: the same everywhere."""
    words = []
    for _ in range(count):
        state[0] = (state[0] * 6364136223846793005 + 1442695040888963407) % 2**64
        value = (state[0] >> 40) / 2**23 - 1
        words.append(struct.unpack("<I", struct.pack("<f", value))[0] >> 16)
    return struct.pack(f"<{count}H", *words)


def make_checkpoint(folder):
    layer = "model.layers.0."
    shapes = {
        "lm_head.weight": [VOCABULARY, HIDDEN], "model.embed_tokens.weight": [VOCABULARY, HIDDEN],
        layer + "input_layernorm.weight": [HIDDEN], layer + "mlp.down_proj.weight": [HIDDEN, INTERMEDIATE],
        layer + "mlp.gate_proj.weight": [INTERMEDIATE, HIDDEN], layer + "mlp.up_proj.weight": [INTERMEDIATE, HIDDEN],
        layer + "post_attention_layernorm.weight": [HIDDEN], layer + "self_attn.k_proj.weight": [HIDDEN, HIDDEN],
        layer + "self_attn.o_proj.weight": [HIDDEN, HIDDEN], layer + "self_attn.q_proj.weight": [HIDDEN, HIDDEN],
        layer + "self_attn.rotary_emb.inv_freq": [HIDDEN // HEADS // 2],
        layer + "self_attn.v_proj.weight": [HIDDEN, HIDDEN], "model.norm.weight": [HIDDEN],
    }
    header, data, state = {}, b"", [1]
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        begin, data = len(data), data + weights(count, state)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sealed(manifest):
    manifest.pop("digest", None)
    manifest["digest"] = hashlib.sha256(canonical(manifest)).hexdigest()
    return canonical(manifest) + b"\n"


def bad_manifests(store, folder):
    """Yields cases whose manifest is replaced."""
    text = (store / "manifest.json").read_bytes()
    assert sealed(json.loads(text)) == text, "this script and Lamina disagree about canonical JSON"

    def case(name, says, change):
        manifest = json.loads(text)
        change(manifest)
        (folder / f"{name}.json").write_bytes(sealed(manifest))
        return {"name": name, "manifest": f"{name}.json", "exit": 65, "says": says}

    folder.mkdir(parents=True)
    yield case("newer-version", "another format version", lambda m: m.update(version=2))
    yield case("path-out-of-the-store", "a path inside layers/", lambda m: m["shards"][0].update(path="layers/../../x"))
    yield case("absolute-path", "a path inside layers/", lambda m: m["shards"][0].update(path="/etc/passwd"))
    yield case("unknown-codec", "codec", lambda m: m["shards"][0]["tensors"][0].update(codec="zip"))
    yield case("huge-shape", "too large", lambda m: m["shards"][0]["tensors"][0].update(shape=[2**46, 2**46]))
    yield case("shard-listed-twice", "listed twice", lambda m: m["shards"].append(m["shards"][0]))
    yield case("short-digest", "64 hexadecimal digits", lambda m: m["shards"][0].update(sha256="00"))
    yield case("wrong-root-digest", "root digest", lambda m: m.update(root_digest="0" * 64))
    yield case("tie-to-nothing", "not stored", lambda m: m["tied"].append({"name": "a", "target": "b"}))


def damage(store):
    """Yields cases whose files are changed: a byte flipped, a file cut short, removed or replaced."""
    for path in sorted(p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file()):
        size = (store / path).stat().st_size
        what = {"file": path, "exit": 3, "says": path}
        yield dict(what, name=f"first byte of {path}", flip=0)
        yield dict(what, name=f"middle byte of {path}", flip=size // 2)
        yield dict(what, name=f"half of {path}", truncate=size // 2)
        missing = 66 if path == "manifest.json" else 3
        yield dict(what, name=f"no {path}", remove=True, exit=missing)
    yield {"name": "wrong shard", "file": "layers/head.h5", "replace": "layers/embedding.h5", "exit": 3,
           "says": "layers/head.h5"}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    here = pathlib.Path(__file__).resolve().parent
    for folder in ("good", "bad"):
        shutil.rmtree(here / folder, ignore_errors=True)
    make_checkpoint(here / "good/checkpoint")
    store = here / "good/store.lamina"
    subprocess.run([sys.argv[1], here / "good/checkpoint", store, "--quiet"], check=True)
    cases = [*bad_manifests(store, here / "bad"), *damage(store)]
    (here / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
