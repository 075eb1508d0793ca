#!/usr/bin/env python3
"""Writes sampling.json beside this file: random logits, settings, and the probabilities from which transformers' own
processors, in the order of its generate(), would draw. Made with torch 2.15.0 and transformers 5.23.0, in float64.
"""
import json, os, random
import torch
from transformers.generation import logits_process as steps


def chain(s):
    """The processors of `GenerationMixin._get_logits_processor` for these settings, in its order."""
    if s["bias"]:
        yield steps.SequenceBiasLogitsProcessor([[[token], value] for token, value in s["bias"]])
    if s["repetition_penalty"] != 1:
        yield steps.RepetitionPenaltyLogitsProcessor(s["repetition_penalty"])
    if s["temperature"] != 1:
        yield steps.TemperatureLogitsWarper(s["temperature"])
    if s["top_k"]:
        yield steps.TopKLogitsWarper(s["top_k"])
    if s["top_p"] < 1:
        yield steps.TopPLogitsWarper(s["top_p"])
    if s["min_p"] > 0:
        yield steps.MinPLogitsWarper(s["min_p"])
    if s["typical_p"] < 1:
        yield steps.TypicalLogitsWarper(s["typical_p"])


def case(rng):
    size = rng.choice([5, 17, 60, 400])
    # Multiples of 1/64 are exact in both widths; no two alike, since ties are decided differently.
    values = rng.sample(range(-64 * 12, 64 * 12), size)
    logits = [value / 64 for value in values]
    history = [rng.randrange(size) for _ in range(rng.randrange(1, 12))]
    settings = {
        "bias": [[rng.randrange(size), rng.choice([-3.5, 2.25, -100.0])]] if rng.random() < .3 else [],
        "repetition_penalty": rng.choice([1.0, 1.0, 1.25, 2.0]), "temperature": rng.choice([1.0, 0.5, 0.7, 2.0, 5.0]),
        "top_k": rng.choice([0, 0, 2, 5, 40, 1000]), "top_p": rng.choice([1.0, 1.0, 0.1, 0.5, 0.9, 0.99]),
        "min_p": rng.choice([0.0, 0.0, 0.02, 0.2, 1.0]), "typical_p": rng.choice([1.0, 1.0, 0.2, 0.6, 0.95]),
    }
    scores = torch.tensor([logits], dtype=torch.float64)
    ids = torch.tensor([history])
    for step in chain(settings):
        scores = step(ids, scores).to(torch.float64)
    probabilities = torch.softmax(scores, -1)[0]
    kept = [[index, float(p)] for index, p in enumerate(probabilities) if scores[0, index] > -torch.inf]
    return {"logits": logits, "history": history, "settings": settings, "kept": kept}


def main():
    rng = random.Random(20261123)
    cases = [case(rng) for _ in range(200)]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sampling.json")
    with open(path, "w") as file:
        file.write('{"cases":[\n' + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]}\n")


main()
