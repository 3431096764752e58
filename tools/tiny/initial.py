# SPDX-License-Identifier: Apache-2.0
"""The model's sizes and its weights before training."""
import random

import torch

from config import Config

SEED = 2026


def tiny_config():
    return Config({
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "attention_bias": False,
        "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1, "expert_dtype": "fp4", "hidden_act": "silu",
        "initializer_range": 0.02, "max_position_embeddings": 1048576, "norm_topk_prob": True,
        "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc", "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "n_shared_experts": 1,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
        "vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 6, "num_hash_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 128, "qk_rope_head_dim": 64,
        "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128, "sliding_window": 128,
        "compress_ratios": [0, 0, 0, 4, 128, 0, 0], "index_n_heads": 4, "index_head_dim": 128, "index_topk": 512,
        "moe_intermediate_size": 128, "n_routed_experts": 4, "num_experts_per_tok": 2, "routed_scaling_factor": 1.5,
        "swiglu_limit": 10.0, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rms_norm_eps": 1e-6,
        "num_nextn_predict_layers": 1, "rope_theta": 10000, "compress_rope_theta": 160000,
        "rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                         "original_max_position_embeddings": 65536}})


def initial_parameters(config, seed=SEED):
    """(parameters, tid2eid tables)"""
    g = torch.Generator().manual_seed(seed)
    D, H, d, V = config.hidden_size, config.num_attention_heads, config.head_dim, config.vocab_size
    I, E, n = config.moe_intermediate_size, config.n_routed_experts, config.hc_mult
    p = {}

    def normal(name, *shape, scale=None):
        p[name] = torch.randn(*shape, generator=g) * (shape[-1] ** -0.5 if scale is None else scale)

    def compressor(prefix, ratio, width):
        columns = 2 * width if ratio == 4 else width
        normal(prefix + "wkv.weight", columns, D)
        normal(prefix + "wgate.weight", columns, D)
        p[prefix + "ape"] = torch.zeros(ratio, columns)
        p[prefix + "norm.weight"] = torch.ones(width)

    def hyper_connection(prefix, depth):
        """At first: reads mostly one stream, writes to all, keeps them apart."""
        for i, name in enumerate(("hc_attn", "hc_ffn")):
            normal(f"{prefix}{name}_fn", (2 + n) * n, n * D, scale=0.005)
            base = torch.zeros((2 + n) * n)
            base[:n] = -2.5
            base[(2 * depth + i) % n] = 1.5
            base[2 * n:] = 4 * torch.eye(n).flatten()
            p[f"{prefix}{name}_base"], p[f"{prefix}{name}_scale"] = base, torch.ones(3)

    def head(prefix):
        normal(prefix + "hc_head_fn", n, n * D, scale=0.005)
        p[prefix + "hc_head_base"], p[prefix + "hc_head_scale"] = torch.full((n,), -1.1), torch.ones(1)
        p[prefix + "norm.weight"] = torch.ones(D)

    def layer(prefix, depth, ratio, hashed):
        hyper_connection(prefix, depth)
        for name in ("attn_norm", "ffn_norm"):
            p[f"{prefix}{name}.weight"] = torch.ones(D)
        a = prefix + "attn."
        normal(a + "wq_a.weight", config.q_lora_rank, D)
        normal(a + "wq_b.weight", H * d, config.q_lora_rank)
        normal(a + "wkv.weight", d, D)
        normal(a + "wo_a.weight", config.o_groups * config.o_lora_rank, H * d // config.o_groups)
        p[a + "wo_b.weight"] = torch.zeros(D, config.o_groups * config.o_lora_rank)
        p[a + "q_norm.weight"], p[a + "kv_norm.weight"] = torch.ones(config.q_lora_rank), torch.ones(d)
        p[a + "attn_sink"] = torch.zeros(H)
        if ratio:
            compressor(a + "compressor.", ratio, d)
        if ratio == 4:
            normal(a + "indexer.wq_b.weight", config.index_n_heads * config.index_head_dim, config.q_lora_rank)
            normal(a + "indexer.weights_proj.weight", config.index_n_heads, D)
            compressor(a + "indexer.compressor.", ratio, config.index_head_dim)
        f = prefix + "ffn."
        normal(f + "gate.weight", E, D)
        if not hashed:
            p[f + "gate.bias"] = torch.zeros(E)
        for name, shape in (("w1", (I, D)), ("w3", (I, D)), ("w2", (D, I))):
            normal(f"{f}shared_experts.{name}.weight", *shape)
            normal(f"{f}experts.{name}", E, *shape)
        for name in ("shared_experts.w2.weight", "experts.w2"):
            p[f + name].zero_()

    normal("embed.weight", V, D, scale=1.0)
    normal("head.weight", V, D, scale=0.02)
    head("")
    for i, ratio in enumerate(config.ratios):
        layer(f"layers.{i}.", i, ratio, i < config.num_hash_layers)
    layer("mtp.0.", config.num_hidden_layers, 0, False)
    head("mtp.0.")
    for name in ("enorm", "hnorm"):
        p[f"mtp.0.{name}.weight"] = torch.ones(D)
    for name in ("e_proj", "h_proj"):
        normal(f"mtp.0.{name}.weight", D, D, scale=0.5 * D**-0.5)
    rng = random.Random(seed)
    tables = {f"layers.{i}.ffn.gate.tid2eid":
              torch.tensor([rng.sample(range(E), config.num_experts_per_tok) for _ in range(V)])
              for i in range(config.num_hash_layers)}
    return p, tables
