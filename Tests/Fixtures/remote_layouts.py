"""Rewrites a checkpoint of a class that transformers knows into the layout of a family whose code transformers does not
have, and which computes the same: names, fused matrices, config keys.
"""
import json

import safetensors.torch
import torch


def tensors_of(folder):
    """All tensors of a checkpoint; its files are removed."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= safetensors.torch.load_file(path)
        path.unlink()
    for index in folder.glob("*.index.json"):
        index.unlink()
    return found


def fused_by_group(parts, groups):
    """Rows of query, key and value by group of key-value heads: [groups, (rows of each)]."""
    return torch.cat([torch.cat([part.chunk(groups)[group] for part in parts]) for group in range(groups)])


def renamed(name, names):
    for old, new in names.items():
        name = name.replace(old, new)
    return name


def common(config):
    return {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id", "hidden_size", "vocab_size",
                                         "max_position_embeddings", "tie_word_embeddings", "num_attention_heads")
            if key in config} | {"torch_dtype": config["dtype"], "transformers_version": "4.45.0"}


def llama_relative(config, model_type, class_name):
    keys = ("intermediate_size", "num_hidden_layers", "rms_norm_eps", "hidden_act")
    return common(config) | {key: config[key] for key in keys} | {
        "model_type": model_type, "architectures": [class_name]}


def internlm2(config, tensors):
    names = {"embed_tokens": "tok_embeddings", "lm_head": "output", "self_attn.o_proj": "attention.wo",
             "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2",
             "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
    result = {}
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            parts = [tensor, tensors[name.replace("q_proj", "k_proj")], tensors[name.replace("q_proj", "v_proj")]]
            result[name.replace("self_attn.q_proj", "attention.wqkv")] = fused_by_group(
                parts, config["num_key_value_heads"])
        elif ".k_proj." not in name and ".v_proj." not in name:
            result[renamed(name, names)] = tensor
    return llama_relative(config, "internlm2", "InternLM2ForCausalLM") | {
        "num_key_value_heads": config["num_key_value_heads"], "bias": False,
        "rope_theta": config["rope_parameters"]["rope_theta"], "rope_scaling": None}, result


def internlm(config, tensors):
    return llama_relative(config, "internlm", "InternLMForCausalLM") | {"bias": config["attention_bias"]}, tensors


def baichuan(config, tensors):
    result = {}
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            result[name.replace("q_proj", "W_pack")] = torch.cat(
                [tensor, tensors[name.replace("q_proj", "k_proj")], tensors[name.replace("q_proj", "v_proj")]])
        elif ".k_proj." not in name and ".v_proj." not in name:
            result[name] = tensor
    return llama_relative(config, "baichuan", "BaiChuanForCausalLM"), result


def qwen(config, tensors):
    names = {"model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f", "model.layers": "transformer.h",
             "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "self_attn.o_proj": "attn.c_proj",
             "mlp.gate_proj": "mlp.w2", "mlp.up_proj": "mlp.w1", "mlp.down_proj": "mlp.c_proj",
             "self_attn.q_proj": "attn.c_attn"}
    _, packed = baichuan({**config, "hidden_act": "silu"}, tensors)
    result = {renamed(name.replace("W_pack", "q_proj"), names): tensor for name, tensor in packed.items()}
    return common(config) | {
        "model_type": "qwen", "architectures": ["QWenLMHeadModel"], "intermediate_size": 2 * config["intermediate_size"],
        "num_hidden_layers": config["num_hidden_layers"], "layer_norm_epsilon": config["rms_norm_eps"],
        "kv_channels": config["hidden_size"] // config["num_attention_heads"], "no_bias": True, "rotary_pct": 1.0,
        "rotary_emb_base": config["rope_parameters"]["rope_theta"], "scale_attn_weights": True,
        "seq_length": config["max_position_embeddings"], "use_dynamic_ntk": True, "use_logn_attn": True}, result


def chatglm(config, tensors):
    names = {"model.embed_tokens": "transformer.embedding.word_embeddings", "lm_head": "transformer.output_layer",
             "model.layers": "transformer.encoder.layers", "model.norm": "transformer.encoder.final_layernorm",
             "self_attn.q_proj": "self_attention.query_key_value", "self_attn.o_proj": "self_attention.dense",
             "gate_up_proj": "dense_h_to_4h", "down_proj": "dense_4h_to_h"}
    _, packed = baichuan({**config, "hidden_act": "silu"}, tensors)
    result = {renamed(name.replace("W_pack", "q_proj"), names): tensor for name, tensor in packed.items()}
    settings = common(config)
    vocabulary = settings["vocab_size"]
    return settings | {
        "model_type": "chatglm", "architectures": ["ChatGLMModel"], "ffn_hidden_size": config["intermediate_size"],
        "num_layers": config["num_hidden_layers"], "layernorm_epsilon": config["rms_norm_eps"],
        "kv_channels": config["head_dim"], "multi_query_attention": True, "padded_vocab_size": vocabulary,
        "multi_query_group_num": config["num_key_value_heads"], "seq_length": config["max_position_embeddings"],
        "add_bias_linear": False, "add_qkv_bias": config["attention_bias"], "rmsnorm": True, "original_rope": True,
        "post_layer_norm": True, "apply_residual_connection_post_layernorm": False,
        "rope_ratio": config["rope_parameters"]["rope_theta"] / 10000}, result


def rewrite(layout, folder):
    """Turns the checkpoint in `folder` into one of `layout`: one of the functions above."""
    path = folder / "config.json"
    config, tensors = layout(json.loads(path.read_text()), tensors_of(folder))
    path.write_text(json.dumps(config))
    # `clone`: no two tensors may share memory.
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
