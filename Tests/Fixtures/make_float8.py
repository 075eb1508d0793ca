#!/usr/bin/env python3
"""Makes a tiny DeepSeek-V3 checkpoint as it is published: FP8 (e4m3) with a scale per block of 128 x 128 weights, and a
multi-token-prediction layer behind the others; golden.json is what transformers computes from the same weights in f32.

  make_float8.py OUTPUT [key=value ...] [--seed 1]

Needs torch and transformers.
"""
import argparse
import json
import pathlib
import tempfile

import safetensors.torch
import torch
import transformers

import make_model
from remote_layouts import tensors_of

BLOCK = 128
LARGEST = torch.finfo(torch.float8_e4m3fn).max
# Wider than a block, and no multiple of it: several scales per matrix, the last ones for a part of a block.
SIZES = {"vocab_size": 256, "hidden_size": 160, "intermediate_size": 200, "moe_intermediate_size": 136,
         "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 136,
         "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 40, "n_routed_experts": 4,
         "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
         "num_hidden_layers": 2, "num_nextn_predict_layers": 1}


def is_scaled(name):
    """Which tensors DeepSeek publishes in FP8: all matrices of layers but the router."""
    return name.endswith("_proj.weight") or name.endswith("kv_a_proj_with_mqa.weight")


def scaled(tensor):
    """Codes, a scale per block, and what they stand for in f32."""
    rows, columns = tensor.shape
    codes = torch.empty_like(tensor, dtype=torch.float8_e4m3fn)
    scales = torch.empty(-(-rows // BLOCK), -(-columns // BLOCK))
    exact = torch.empty_like(tensor)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            scales[i, j] = tensor[part].abs().max() / LARGEST
            codes[part] = (tensor[part] / scales[i, j]).to(torch.float8_e4m3fn)
            exact[part] = codes[part].to(torch.float32) * scales[i, j]
    return codes, scales, exact


def prediction_layer(tensors, index):
    """A further layer like the last, and what only such layers have."""
    found = {name.replace(f"layers.{index - 1}.", f"layers.{index}."): tensor.clone()
             for name, tensor in tensors.items() if f"layers.{index - 1}." in name}
    hidden = tensors["model.embed_tokens.weight"].shape[1]
    prefix = f"model.layers.{index}."
    return found | {prefix + "enorm.weight": torch.ones(hidden), prefix + "hnorm.weight": torch.ones(hidden),
                    prefix + "eh_proj.weight": torch.randn(hidden, 2 * hidden) / hidden ** 0.5,
                    prefix + "shared_head.norm.weight": torch.ones(hidden)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_intermixed_args()
    settings = {key: json.loads(value) for key, _, value in (entry.partition("=") for entry in options.settings)}
    settings = {**make_model.SIZES, **SIZES, **settings}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        make_model.made_model("deepseek_v3", settings, torch.bfloat16, options.seed).save_pretrained(folder)
        config, tensors = json.loads((folder / "config.json").read_text()), tensors_of(folder)
        stored, exact = {}, {}
        for name, tensor in (tensors | prediction_layer(tensors, settings["num_hidden_layers"])).items():
            if is_scaled(name):
                stored[name], stored[name + "_scale_inv"], exact[name] = scaled(tensor.to(torch.float32))
            else:
                keeps = name.endswith("e_score_correction_bias")
                stored[name] = tensor.to(torch.float32 if keeps else torch.bfloat16)
                exact[name] = stored[name].to(torch.float32)
        beyond = f"layers.{settings['num_hidden_layers']}."
        safetensors.torch.save_file({name: exact[name].contiguous() for name in exact if beyond not in name},
                                    folder / "model.safetensors", {"format": "pt"})
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        expected = make_model.golden(model, "deepseek_v3", options.seed)
    config |= {"dtype": "bfloat16", "quantization_config": {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}}
    options.output.mkdir()
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in stored.items()},
                                options.output / "model.safetensors", {"format": "pt"})
    (options.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    expected = {"name": options.output.name, "stored_dtype": "float8_e4m3fn", **expected}
    (options.output / "golden.json").write_text(json.dumps(expected) + "\n")
    print(f"{options.output}: smallest margin {min(entry['greedy_min_margin'] for entry in expected['prompts']):.4f}")


if __name__ == "__main__":
    main()
