#!/usr/bin/env python3
"""Makes a tiny random checkpoint of a family transformers knows, as published ones look, and golden.json with what
transformers computes from it in f32 on the CPU.

  make_model.py MODEL_TYPE OUTPUT [key=value ...] [--dtype bfloat16] [--seed 1] [--shards 1]

MODEL_TYPE is a model_type of transformers (llama, qwen3_moe, gemma2, ...). key=value changes config.json; values are
JSON. OUTPUT must not exist. Needs torch and transformers. The form of golden.json is what GoldenModelTests reads.
"""
import argparse
import json
import pathlib
import random
import sys

import torch
import transformers

# Small, and none of them a divisor of another where a family does not ask for it.
SIZES = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0}
PROMPT_LENGTHS = (7, 33, 60)
BATCH_LENGTHS = (5, 11, 19)
GREEDY, BATCH_GREEDY = 16, 8
PROBE = 7


def parsed_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_type")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1, help="number of safetensors files, about")
    options = parser.parse_intermixed_args()
    if options.output.exists():
        sys.exit(f"error: {options.output} exists already")
    return options


def made_model(model_type, settings, dtype, seed):
    """A model with random weights that are exact in the dtype they are stored in, computing in f32."""
    config = transformers.AutoConfig.for_model(model_type, **settings)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms near 1, so that logits keep their size; everything else wide enough to tell tokens apart.
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(parameter + 0.1 * torch.randn_like(parameter))
            elif parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * 1.2 / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(0.1 * torch.randn_like(parameter))
            parameter.copy_(parameter.to(dtype).to(torch.float32))
    return model


def forward(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False, output_hidden_states=True)


def greedy(model, ids, count):
    """Tokens by full recomputation, and the smallest gap between the two best logits."""
    ids, made, margin = list(ids), [], float("inf")
    for _ in range(count):
        best = forward(model, ids).logits[0, -1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        made.append(int(best.indices[0]))
        ids.append(made[-1])
    return made, margin


def prompt(model, ids):
    logits = forward(model, ids).logits[0]
    logarithms = torch.log_softmax(logits, dim=-1)
    made, margin = greedy(model, ids, GREEDY)
    return {"ids": ids, "last_logits": logits[-1].tolist(), "argmax_per_position": logits.argmax(-1).tolist(),
            "next_token_logprobs": [float(logarithms[i, ids[i + 1]]) for i in range(len(ids) - 1)], "greedy": made,
            "greedy_min_margin": margin}


def statistics(states):
    """What `lamina-run logits --probes` reports of a layer."""
    return {"mean": float(states.mean()), "std": float(states.std(unbiased=False)),
            "first8_position0": states[0, :8].tolist(), "first8_last_position": states[-1, :8].tolist()}


def layer_states(model, ids):
    """The residual stream after every layer, before the last norm."""
    found = []
    layers = next(module for name, module in model.named_modules() if name.endswith("layers"))
    hooks = [layer.register_forward_hook(
        lambda _, __, output: found.append((output[0] if isinstance(output, tuple) else output)[0].clone()))
        for layer in layers]
    forward(model, ids)
    for hook in hooks:
        hook.remove()
    return found


def golden(model, model_type, seed):
    """What a checkpoint is compared with."""
    source = random.Random(seed)
    vocabulary = model.config.vocab_size

    def ids(count):
        return [source.randrange(7, vocabulary) for _ in range(count)]

    prompts = [prompt(model, ids(count)) for count in PROMPT_LENGTHS]
    batch = [ids(count) for count in BATCH_LENGTHS]
    probe = prompts[0]["ids"][:PROBE]
    return {
        "model_type": model_type, "seed": seed,
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}", "prompts": prompts,
        "batch": {"prompts": batch, "last_logits": [forward(model, row).logits[0, -1].tolist() for row in batch],
                  "greedy": [greedy(model, row, BATCH_GREEDY)[0] for row in batch]},
        "layers_probe": {"ids": probe, "layers": [statistics(state) for state in layer_states(model, probe)]},
    }


def write(model_type, settings, output, dtype="bfloat16", seed=1, shards=1):
    """Writes a checkpoint and what is expected of it; returns that."""
    settings = {**SIZES, **settings}
    model = made_model(model_type, settings, getattr(torch, dtype), seed)
    expected = {"name": output.name, "stored_dtype": dtype, **golden(model, model_type, seed)}
    model.to(getattr(torch, dtype))
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    model.save_pretrained(output, max_shard_size=max(4096, size // shards))
    (output / "generation_config.json").unlink(missing_ok=True)
    (output / "golden.json").write_text(json.dumps(expected) + "\n")
    return expected


def main():
    options = parsed_options()
    settings = {key: json.loads(value) for key, _, value in (entry.partition("=") for entry in options.settings)}
    expected = write(options.model_type, settings, options.output, options.dtype, options.seed, options.shards)
    margin = min(entry["greedy_min_margin"] for entry in expected["prompts"])
    print(f"{options.output}: smallest margin {margin:.4f}"
          + ("" if margin > 0.02 else " (too small for exact greedy text: take another seed)"))


transformers.utils.logging.disable_progress_bar()

if __name__ == "__main__":
    main()
