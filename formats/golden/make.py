#!/usr/bin/env python3
"""Makes the golden files anew, after a change of format: a tiny checkpoint, the stores lamina-convert makes of it, and
the ways in which copies of the first of them are bad.

  make.py LAMINA_CONVERT                       needs libxxhash

good/ is what every version of the format must agree on: the checkpoint, and its store with the standard codecs, with
exp-huf and with raw; three quantized ones; and the same tensors as torch.save writes them, with their store. cases.json
lists one change each to store.lamina, or to the one it names, the exit code lamina-verify must give and a part
of what it must say ("decode": with --decode). Changed manifests in bad/, and patched shards, have all checksums and
digests made right again, so that only their content is wrong.
"""
import base64
import ctypes
import ctypes.util
import hashlib
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import zipfile

# More than one panel of words in the vocabulary, so that a chunk has more than one segment.
HIDDEN, HEADS, INTERMEDIATE, VOCABULARY = 16, 2, 24, 80
STORES = {"store": ("checkpoint", []), "exp-huf": ("checkpoint", ["--codec", "exp-huf"]),
          "raw": ("checkpoint", ["--codec", "raw"]), "torch": ("torch-checkpoint", []),
          **{scheme: ("checkpoint", ["--quantize", scheme, "--keep", f"*={scheme}"])
             for scheme in ("int8-row", "q4", "nf4-double")}}


def weights(count, state):
    """BF16 numbers between -1 and 1 from a linear congruential generator: the same everywhere."""
    words = []
    for _ in range(count):
        state[0] = (state[0] * 6364136223846793005 + 1442695040888963407) % 2**64
        value = (state[0] >> 40) / 2**23 - 1
        words.append(struct.unpack("<I", struct.pack("<f", value))[0] >> 16)
    return struct.pack(f"<{count}H", *words)


def make_checkpoints(folder, torch_folder):
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
    state = [1]
    tensors = {name: (shape, weights(shape[0] * (shape[1] if len(shape) == 2 else 1), state))
               for name, shape in shapes.items()}
    write_config(folder)
    write_safetensors(folder / "model.safetensors", tensors)
    write_config(torch_folder)
    write_torch(torch_folder / "pytorch_model.bin", tensors)


def write_config(folder):
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE, "num_hidden_layers": 1, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, content) in tensors.items():
        begin, data = len(data), data + content
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_torch(path, tensors):
    """As torch.save writes a state dict, down to the pickle's opcodes. The vectors are views of one storage, which has
    more than they use."""
    def text(string):
        return b"X" + struct.pack("<I", len(string)) + string.encode()

    def numbers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    slack = b"no tensor's byte"
    shared = slack + slack.join(content for shape, content in tensors.values() if len(shape) == 1) + slack
    storages, pickle, at = [shared], b"\x80\x02}(", len(slack)
    for name, (shape, content) in tensors.items():
        key, offset = (0, at) if len(shape) == 1 else (len(storages), 0)
        if key == 0:
            at += len(content) + len(slack)
        else:
            storages.append(content)
        storage = b"(" + text("storage") + b"ctorch\nBFloat16Storage\n" + text(str(key)) + text("cpu")
        storage += b"J" + struct.pack("<i", len(storages[key]) // 2) + b"tQ"
        pickle += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + struct.pack("<i", offset // 2)
        pickle += numbers(shape) + numbers(shape[1:] + [1]) + b"\x89ccollections\nOrderedDict\n)RtR"
    with zipfile.ZipFile(path, "w") as archive:
        def add(name, content):
            archive.writestr(zipfile.ZipInfo("pytorch_model/" + name), content)

        add("data.pkl", pickle + b"u.")
        add("byteorder", b"little")
        for key, content in enumerate(storages):
            add(f"data/{key}", content)
        add("version", b"3\n")


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
    yield case("unknown-source", "torch-zip", lambda m: m["source"]["files"][0].update(format="numpy"))
    yield case("tie-to-nothing", "not stored", lambda m: m["tied"].append({"name": "a", "target": "b"}))


def xxh3(data):
    function = ctypes.CDLL(ctypes.util.find_library("xxhash")).XXH3_64bits
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return function(bytes(data), len(data))


def record_offset(shard, wanted):
    """Where in a shard the first chunk's record of a tensor is."""
    at = 64
    for _ in range(struct.unpack_from("<I", shard, 12)[0]):
        name_bytes, rank, planes, chunks = struct.unpack_from("<H3xBH16xQ", shard, at)
        name = at + 32 + 8 * rank
        at = name + -(-name_bytes // 8) * 8 + 24 * planes * chunks
        if shard[name:name + name_bytes] == wanted.encode():
            return at - 24 * planes * chunks
    raise KeyError(wanted)


def changed_store(store, path, tensor, change):
    """The files that differ, by path, once `change` has changed a tensor's first chunk or its record in a shard."""
    manifest = json.loads((store / "manifest.json").read_bytes())
    shard = bytearray((store / path).read_bytes())
    record = record_offset(shard, tensor)
    change(shard, record, struct.unpack_from("<Q", shard, record)[0])
    offset, _, size = struct.unpack_from("<QQI", shard, record)
    struct.pack_into("<Q", shard, record + 8, xxh3(shard[offset:offset + size]))
    struct.pack_into("<Q", shard, 40, xxh3(shard[64:64 + struct.unpack_from("<Q", shard, 32)[0]]))
    struct.pack_into("<Q", shard, 48, xxh3(shard[:48]))
    next(s for s in manifest["shards"] if s["path"] == path)["sha256"] = hashlib.sha256(shard).hexdigest()
    digests = sorted((file["path"].encode(), bytes.fromhex(file["sha256"]))
                     for file in manifest["shards"] + manifest["side"])
    manifest["root_digest"] = hashlib.sha256(b"".join(digest for _, digest in digests)).hexdigest()
    return {path: bytes(shard), "manifest.json": sealed(manifest)}


def patches(store, files):
    """The differences between a store's files and `files`, of the same sizes: runs of changed bytes, in base64."""
    for path, new in files.items():
        old = (store / path).read_bytes()
        assert len(old) == len(new)
        changed = [at for at in range(len(old)) if old[at] != new[at]]
        while changed:
            # Runs with a few equal bytes in between are one: a digest has some by chance.
            length = next((i for i in range(1, len(changed)) if changed[i] > changed[i - 1] + 8), len(changed))
            first, last = changed[0], changed[length - 1]
            yield {"file": path, "at": first, "bytes": base64.b64encode(new[first:last + 1]).decode()}
            changed = changed[length:]


def added(offset, value):
    """A change of an integer in the chunk."""
    def change(shard, record, start):
        old = struct.unpack_from("<I", shard, start + offset)[0]
        struct.pack_into("<I", shard, start + offset, (old + value) % 2**32)
    return change


def flipped(*bits):
    """A change of bits in the chunk, each given as the byte's offset and a mask."""
    def change(shard, record, start):
        for offset, mask in bits:
            shard[start + offset] ^= mask
    return change


def put(offset, *values):
    """Bytes in the chunk."""
    def change(shard, record, start):
        shard[start + offset:start + offset + len(values)] = bytes(values)
    return change


def stated(size, encoding):
    """A change of the chunk's record."""
    return lambda shard, record, start: struct.pack_into("<IB", shard, record + 16, size, encoding)


def bad_chunks(store):
    """Yields cases of exp-tier chunks and records that no writer makes, under checksums that are right."""
    path = "layers/head.h5"

    def case(name, says, change, tensor="lm_head.weight", exit=3):
        files = changed_store(store, path, tensor, change)
        return {"name": name, "patches": list(patches(store, files)), "decode": True, "exit": exit, "says": says}

    shard = (store / path).read_bytes()
    start, _, _, encoding = struct.unpack_from("<QQIB", shard, record_offset(shard, "lm_head.weight"))
    segments, slot_words, first, _, second = struct.unpack_from("<5I", shard, start)
    n, n2, n3, escapes = struct.unpack_from("<4I", shard, start + first)
    assert encoding == 2 and segments == 2 and n > n2 > n3 > escapes > 0, "the chunk is not what these cases are about"
    # A symbol 0 of tier 1, and where the second segment's tier 2 ends.
    low, high = struct.unpack_from("<2Q", shard, start + first + 64)
    symbol = next(i for i in range(64) if not (low | high) >> i & 1)
    second_n, second_n2 = struct.unpack_from("<2I", shard, start + second)
    tier_2_end = second + 64 + (-(-second_n // 64) + -(-second_n2 // 64)) * 16
    assert second_n2 % 64 != 0, "tier 2 has no place left to be filled"

    yield case("a segment too many", "directory", added(0, 1))
    yield case("no segments", "directory", added(0, -segments))
    yield case("another slot", "directory", added(4, 1))
    yield case("segments that overlap", "directory", added(16, first - second))
    yield case("a segment behind the chunk", "directory", added(16, 1 << 20))
    yield case("a segment that leaves the chunk", "directory", added(20, 64))
    yield case("a chunk with a rest", "directory", added(20, -64))
    yield case("too few words", "exp-tier", added(first, -1))
    yield case("words without end", "exp-tier", added(first, 2**32 - 1 - n))
    yield case("a symbol of tier 2 too many", "exp-tier", added(first + 4, 1))
    yield case("a symbol of tier 3 too few", "exp-tier", added(first + 8, -1))
    yield case("an escape too many", "exp-tier", added(first + 12, 1))
    yield case("tier 1 wants more of tier 2", "exp-tier",
               flipped(*((first + 64 + half + symbol // 8, 1 << symbol % 8) for half in (0, 8))))
    yield case("something behind the palette", "exp-tier", flipped((first + 25, 1)))
    yield case("something behind tier 2", "exp-tier", flipped((tier_2_end - 1, 0x80)))
    yield case("coded without gain", "impossible bounds", stated(2 * slot_words, 2), exit=65)
    yield case("coded although raw", "impossible bounds", stated(16, 2), "model.norm.weight", exit=65)
    yield case("coded as nobody does", "impossible bounds", stated(16, 3), exit=65)


def bad_panels(store):
    """Yields cases of panels of a store quantized by int8-row that no writer makes."""
    path, tensor = "layers/head.h5", "lm_head.weight"

    def case(name, says, change):
        files = changed_store(store, path, tensor, change)
        return {"name": f"quantized: {name}", "store": "int8-row", "patches": list(patches(store, files)),
                "decode": True, "exit": 65, "says": says}

    yield case("a step that is no number", "a scale that is no number", put(0, 0x80, 0x7F))
    yield case("an escape out of place", "out of place", flipped((39, 0x80)))
    yield case("a code for an escape", "escapes", put(64, 0))


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
    make_checkpoints(here / "good/checkpoint", here / "good/torch-checkpoint")
    for name, (source, options) in STORES.items():
        store = here / f"good/{name}.lamina"
        subprocess.run([sys.argv[1], here / "good" / source, store, *options, "--quiet"], check=True)
        # About this machine, not part of the store.
        (store / "originals.json").unlink(missing_ok=True)
    store = here / "good/store.lamina"
    cases = [*bad_manifests(store, here / "bad"), *bad_chunks(store), *bad_panels(here / "good/int8-row.lamina"), *damage(store)]
    (here / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
