#!/usr/bin/env python3
"""Tries random variants of every family: other sizes, head counts, vocabularies, options; each is made with make_model.py,
converted and run by the built executables, and compared. Families whose code transformers does not have are made from
one that computes the same (remote_layouts.py).

  try_variants.py BIN [--families llama,gemma2] [--count 5] [--seed 1] [--keep FOLDER]

BIN has lamina-convert and lamina-run (.build/release). Prints a line per difference and a summary; exit 1 if any
differs. Needs torch and transformers. An expert chosen by a hair's breadth may fall either way.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import make_model
import remote_layouts

ABSOLUTE, RELATIVE = 1e-3, 1e-4
# A choice between two logits nearer than this may fall either way.
MARGIN = 0.004


def sizes(pick):
    """What all families have."""
    heads = pick.choice([1, 2, 3, 4, 6, 8])
    return {
        "vocab_size": pick.choice([97, 256, 320, 513, 1000]), "hidden_size": heads * pick.choice([8, 16, 24]),
        "intermediate_size": pick.choice([48, 104, 112, 136, 256]), "num_hidden_layers": pick.choice([1, 2, 3, 5]),
        "num_attention_heads": heads,
        "num_key_value_heads": pick.choice([count for count in range(1, heads + 1) if heads % count == 0]),
    }


def rope(pick, partial=None):
    """A way to rotate; `partial`: the part of a head that turns."""
    theta = pick.choice([10000.0, 500000.0, 1000000.0])
    settings = pick.choice([
        {"rope_type": "default"}, {"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 256},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512},
    ])
    settings = {**settings, "rope_theta": theta}
    if partial is not None:
        settings["partial_rotary_factor"] = partial
    return {"rope_parameters": settings}


def plain_rope(pick, partial=None):
    settings = {"rope_type": "default", "rope_theta": pick.choice([10000.0, 250000.0])}
    if partial is not None:
        settings["partial_rotary_factor"] = partial
    return {"rope_parameters": settings}


def ties(pick):
    return {"tie_word_embeddings": pick.random() < 0.4}


def head_dimension(pick):
    return {"head_dim": pick.choice([8, 10, 16, 24, 64])}


def experts(pick, count_key):
    count = pick.choice([2, 4, 7, 8])
    return {count_key: count, "num_experts_per_tok": pick.randint(1, min(4, count))}


def window(pick):
    return pick.choice([None, 4, 7, 16, 64])


def llama(pick):
    return {**rope(pick), **ties(pick), "attention_bias": pick.random() < 0.3, "mlp_bias": pick.random() < 0.3,
            **(head_dimension(pick) if pick.random() < 0.5 else {})}


def mistral(pick):
    return {**rope(pick), **head_dimension(pick), "sliding_window": window(pick)}


def mixtral(pick):
    return {**plain_rope(pick), **experts(pick, "num_local_experts"), "sliding_window": window(pick)}


def windowed_layers(pick):
    span = window(pick)
    return {} if span is None else {"use_sliding_window": True, "sliding_window": span, "max_window_layers": pick.randint(0, 3)}


def qwen2(pick):
    return {**rope(pick), **ties(pick), **windowed_layers(pick)}


def sparse(pick):
    return {**experts(pick, "num_experts"), "moe_intermediate_size": pick.choice([24, 56, 64]),
            "norm_topk_prob": pick.random() < 0.5, "decoder_sparse_step": pick.choice([1, 1, 2]),
            "mlp_only_layers": pick.choice([[], [], [0], [1]])}


def qwen2_moe(pick):
    return {**plain_rope(pick), **sparse(pick), "shared_expert_intermediate_size": pick.choice([40, 64]),
            "qkv_bias": pick.random() < 0.7}


def qwen3(pick):
    return {**rope(pick), **ties(pick), **head_dimension(pick), **windowed_layers(pick),
            "attention_bias": pick.random() < 0.3}


def qwen3_moe(pick):
    return {**plain_rope(pick), **sparse(pick), **head_dimension(pick)}


def glm(pick):
    return {**plain_rope(pick, pick.choice([0.5, 0.5, 1.0])), **ties(pick), "head_dim": pick.choice([8, 16, 32]),
            "attention_bias": pick.random() < 0.7}


def phi3(pick):
    return {**plain_rope(pick, pick.choice([1.0, 0.75, 0.5])), **ties(pick), "sliding_window": window(pick)}


def gemma(pick):
    return {**plain_rope(pick), "head_dim": pick.choice([8, 16, 24, 32])}


def gemma2(pick):
    return {**gemma(pick), "query_pre_attn_scalar": pick.choice([8, 16, 144]), "sliding_window": pick.choice([4, 7, 64]),
            "attn_logit_softcapping": pick.choice([None, 5.0, 50.0]),
            "final_logit_softcapping": pick.choice([None, 3.0, 30.0])}


def gemma3_text(pick):
    scaled = pick.choice([{"rope_type": "default"}, {"rope_type": "linear", "factor": 8.0}])
    return {"head_dim": pick.choice([8, 16, 24, 32]), "query_pre_attn_scalar": pick.choice([8, 16, 144]),
            "sliding_window": pick.choice([4, 7, 64]), "sliding_window_pattern": pick.choice([2, 3, 6]),
            "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                                "full_attention": {**scaled, "rope_theta": 1000000.0}}}


def latent(pick):
    settings = {"kv_lora_rank": pick.choice([16, 24, 40]), "q_lora_rank": pick.choice([None, 24, 48]),
                "qk_rope_head_dim": pick.choice([4, 8, 16]), "qk_nope_head_dim": pick.choice([8, 12, 16]),
                "v_head_dim": pick.choice([8, 12, 20]), "moe_intermediate_size": pick.choice([24, 56]),
                "n_shared_experts": pick.choice([1, 2]), "first_k_dense_replace": pick.choice([0, 1, 2])}
    groups = pick.choice([1, 2, 4])
    settings |= {"n_routed_experts": groups * pick.choice([2, 4]), "n_group": groups,
                 "topk_group": pick.randint(1, groups), "routed_scaling_factor": pick.choice([1.0, 2.5, 16.0])}
    per_group = settings["n_routed_experts"] // groups
    settings["num_experts_per_tok"] = pick.randint(1, per_group * settings["topk_group"])
    yarn = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 256, "mscale": 1.0,
            "mscale_all_dim": pick.choice([0.0, 0.707, 1.0])}
    rope_settings = pick.choice([{"rope_type": "default"}, yarn])
    return {**settings, "rope_parameters": {**rope_settings, "rope_theta": 10000.0}}


def deepseek_v2(pick):
    settings = latent(pick)
    settings["topk_method"] = pick.choice(["greedy", "group_limited_greedy"])
    settings["norm_topk_prob"] = False
    return settings


def deepseek_v3(pick):
    return {**latent(pick), "norm_topk_prob": pick.random() < 0.7}


def olmo2(pick):
    return {**plain_rope(pick), **ties(pick)}


def stablelm(pick):
    return {**plain_rope(pick, pick.choice([0.25, 0.5, 1.0])), **ties(pick), "use_qkv_bias": pick.random() < 0.5,
            "qk_layernorm": pick.random() < 0.3, "use_parallel_residual": pick.random() < 0.4}


def smollm3(pick):
    settings = {**rope(pick), **ties(pick), "attention_bias": pick.random() < 0.3, "mlp_bias": pick.random() < 0.3}
    if pick.random() < 0.5:
        settings["no_rope_layers"] = [pick.randint(0, 1) for _ in range(5)]
    else:
        settings["no_rope_layer_interval"] = pick.choice([1, 2, 4])
    if pick.random() < 0.5:
        settings |= {"use_sliding_window": True, "sliding_window": pick.choice([4, 16])}
    return settings


def gpt_neox(pick):
    return {**plain_rope(pick, pick.choice([0.25, 0.5, 1.0])), **ties(pick), "use_parallel_residual": pick.random() < 0.5,
            "hidden_act": pick.choice(["gelu", "gelu_fast", "gelu_new"])}


FAMILIES = {function.__name__: function for function in (
    llama, mistral, mixtral, qwen2, qwen2_moe, qwen3, qwen3_moe, glm, phi3, gemma, gemma2, gemma3_text, deepseek_v2,
    deepseek_v3, olmo2, stablelm, gpt_neox, smollm3)} | {"glm4": glm}


def internlm(pick):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "attention_bias": pick.random() < 0.5}


def baichuan(pick):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}


def chatglm(pick):
    settings = {**glm(pick), "tie_word_embeddings": False}
    settings["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0 * pick.choice([1, 50, 500]),
                                   "partial_rotary_factor": 0.5}
    return settings


# What computes the same as a family whose code transformers does not have, and its settings.
REMOTE = {"internlm2": ("llama", plain_rope), "internlm": ("llama", internlm), "baichuan": ("llama", baichuan),
          "qwen": ("qwen2", plain_rope), "chatglm": ("glm", chatglm)}
FAMILIES |= {family: function for family, (_, function) in REMOTE.items()}


def settings_of(family, pick):
    settings = {**sizes(pick), **FAMILIES[family](pick)}
    if family in ("internlm", "baichuan", "qwen"):
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    if family in ("glm", "glm4", "phi3", "stablelm", "gpt_neox"):
        # The turned part of a head is a whole even number of dimensions.
        settings["hidden_size"] = settings["num_attention_heads"] * 16
    if "deepseek" in family:
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    return settings


def published(folder):
    """Rewrites config.json the way it was written before transformers 5."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    parameters = config.get("rope_parameters") or {}
    if "rope_type" not in parameters:
        return
    del config["rope_parameters"]
    config["rope_theta"] = parameters.pop("rope_theta")
    if config["model_type"] == "gpt_neox":
        config["rotary_emb_base"] = config.pop("rope_theta")
        config["rotary_pct"] = parameters.pop("partial_rotary_factor")
    elif "partial_rotary_factor" in parameters:
        config["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
    config["rope_scaling"] = parameters if parameters["rope_type"] != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config))


def difference(found, expected, absolute=ABSOLUTE, relative=RELATIVE):
    """The largest difference beyond the tolerance; 0 if there is none."""
    return max(max(0.0, abs(a - b) - absolute - relative * abs(b)) for a, b in zip(found, expected, strict=True))


class Runner:
    def __init__(self, executables, folder):
        self.executables = executables
        self.folder = folder
        self.store = folder.with_suffix(".lamina")

    def run(self, tool, *arguments):
        done = subprocess.run([self.executables / tool, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{tool} exits {done.returncode}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def problems(self, expected):
        """What differs."""
        self.run("lamina-convert", self.folder, self.store)
        found = []
        for entry in expected["prompts"]:
            ids = ",".join(map(str, entry["ids"]))
            answer = json.loads(self.run("lamina-run", "logits", self.store, "--ids", ids, "--json"))
            for key, wanted in (("logits", "last_logits"), ("logprobs", "next_token_logprobs")):
                beyond = difference(answer[key], entry[wanted])
                if beyond:
                    found.append(f"{key} of {len(entry['ids'])} tokens off by {beyond:.3g}")
            if entry["greedy_min_margin"] > MARGIN:
                answer = json.loads(self.run("lamina-run", "generate", self.store, "--ids", ids, "--max-tokens",
                                             len(entry["greedy"]), "--ignore-eos", "--temp", 0, "--json"))
                if answer["ids"] != entry["greedy"]:
                    found.append(f"text after {len(entry['ids'])} tokens")
        return found


def tried(family, index, options, folder):
    pick = random.Random(f"{family} {options.seed} {index}")
    settings = settings_of(family, pick)
    dtype = pick.choice(["bfloat16", "bfloat16", "float16", "float32"])
    target = folder / f"{family}-{options.seed}-{index}"
    arguments = " ".join(f"'{key}={json.dumps(value)}'" for key, value in settings.items())
    native = REMOTE.get(family, (family,))[0]
    try:
        expected = make_model.write(native, settings, target, dtype, seed=index + 1, shards=pick.choice([1, 3]))
        if family in REMOTE:
            remote_layouts.rewrite(getattr(remote_layouts, family), target)
        elif pick.random() < 0.5:
            published(target)
        problems = Runner(options.bin, target).problems(expected)
    except (RuntimeError, ValueError, KeyError, subprocess.TimeoutExpired) as problem:
        problems = [f"{type(problem).__name__}: {problem}"]
    if problems:
        print(f"{family}: {'; '.join(problems)}\n  make_model.py {native} OUT {arguments} --dtype {dtype} --seed {index + 1}",
              flush=True)
    if options.keep is None or not problems:
        shutil.rmtree(target, ignore_errors=True)
        shutil.rmtree(target.with_suffix(".lamina"), ignore_errors=True)
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="where the checkpoints that differ stay")
    options = parser.parse_args()
    right = total = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for family in options.families.split(","):
            for index in range(options.count):
                right += tried(family, index, options, folder)
                total += 1
    print(f"{right} of {total} variants agree")
    sys.exit(right != total)


if __name__ == "__main__":
    main()
