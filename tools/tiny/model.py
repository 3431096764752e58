# SPDX-License-Identifier: Apache-2.0
"""DeepSeek-V4 for training: whole sequences at once, every expert computed for every token.

Parameters have the names of the checkpoint's tensors, except that the experts of a layer are stacked
(`ffn.experts.w1` [E, I, D]). `Numerics` says whether roundings of the native precision are simulated."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import number_formats as formats
from config import rope_frequencies
from sinkhorn import balance

FP8 = ("wq_a", "wq_b", "wkv", "wo_a", "wo_b", "w1", "w2", "w3", "e_proj", "h_proj")
KEEP_F32 = ("hc_", "ape", "attn_sink", "gate.bias")


@dataclass(frozen=True)
class Numerics:
    dtype: torch.dtype = torch.bfloat16
    simulate: bool = True  # activations in front of FP8 and FP4 products, KV rows, the indexer


EXACT = Numerics(torch.float32, False)
PLAIN = Numerics(torch.bfloat16, False)
NATIVE = Numerics(torch.bfloat16, True)


def storage(name):
    """How a parameter lies in the checkpoint: fp8, fp4, bf16, f32."""
    if ".experts." in name:
        return "fp4"
    if any(part in name for part in KEEP_F32):
        return "f32"
    parts = name.split(".")
    if "compressor" not in parts and len(parts) > 1 and parts[-1] == "weight" and parts[-2] in FP8:
        return "fp8"
    return "bf16"


def widened(parameters, dtype):
    """The weights as the checkpoint keeps them, in the dtype of products; gradients pass through."""
    weights = {}
    for kind, rounded in (("fp8", formats.rounded_fp8), ("fp4", formats.rounded_fp4)):
        names = [n for n in parameters if storage(n) == kind]
        if names:
            for name, value in zip(names, rounded([parameters[n].float() for n in names])):
                weights[name] = value.to(dtype)
    for name, value in parameters.items():
        if storage(name) == "bf16":
            weights[name] = value.to(torch.bfloat16).to(dtype)
        elif storage(name) == "f32":
            weights[name] = value
    return weights


def rms_norm(x, weight, eps):
    f = x.float()
    return (f * torch.rsqrt(f.square().mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)


def linear(x, weight, numerics):
    """A product with an FP8 weight."""
    if numerics.simulate:
        x = formats.simulate(x, 128)
    return F.linear(x, weight)


class Rope:
    """Tables of cos and sin [positions, pairs] for positions 0, step, 2 step, .."""

    def __init__(self, config, compresses, length, device):
        frequency = torch.from_numpy(rope_frequencies(config, compresses)).to(device)
        angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
        self.cos, self.sin = torch.cos(angle.double()).float(), torch.sin(angle.double()).float()


def rotate(x, cos, sin, inverse=False):
    """The last dimensions of x [B, S, ..., d] by cos, sin [S, pairs]."""
    pairs = cos.shape[-1]
    shape = (1, cos.shape[0]) + (1,) * (x.dim() - 3) + (pairs,)
    cos, sin = cos.view(shape), sin.view(shape)
    if inverse:
        sin = -sin
    plain, turned = x[..., : -2 * pairs], x[..., -2 * pairs:].float().unflatten(-1, (pairs, 2))
    a, b = turned[..., 0], turned[..., 1]
    turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    return torch.cat((plain, turned.to(x.dtype)), -1)


def hadamard(x):
    n = x.shape[-1]
    h = torch.ones(1, 1, device=x.device)
    while h.shape[0] < n:
        h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)), 0)
    return (F.linear(x, h.to(x.dtype)).float() * n**-0.5).to(x.dtype)


def compress(x, owner, w, prefix, ratio, rope, config, numerics, for_indexer=False):
    """x [B, S, D] -> one entry for each `ratio` tokens [B, S / ratio, d]."""
    B, S, _ = x.shape
    E = S // ratio
    x = x[:, : E * ratio]
    kv = F.linear(x, w[prefix + "wkv.weight"]).float().view(B, E, ratio, -1)
    score = F.linear(x, w[prefix + "wgate.weight"]).float().view(B, E, ratio, -1) + w[prefix + "ape"]
    if ratio == 4:  # the window before, by its first half of the columns, and this one
        d = kv.shape[-1] // 2
        first = owner[:, ratio: E * ratio: ratio] != owner[:, ratio - 1: (E - 1) * ratio: ratio]
        first = F.pad(first, (1, 0), value=True)[:, :, None, None]
        before = lambda t, fill: F.pad(t[:, :-1, :, :d], (0, 0, 0, 0, 1, 0), value=fill)
        kv = torch.cat((before(kv, 0.0), kv[..., d:]), 2)
        score = torch.cat((before(score, 0.0).masked_fill(first, -1e30), score[..., d:]), 2)
    pooled = (torch.softmax(score, 2) * kv).sum(2).to(x.dtype)
    pooled = rms_norm(pooled, w[prefix + "norm.weight"], config.rms_norm_eps)
    pooled = rotate(pooled, rope.cos[: E * ratio : ratio], rope.sin[: E * ratio : ratio])
    if not numerics.simulate:
        return pooled
    if for_indexer:
        return formats.simulate(hadamard(pooled), 32, fp4=True)
    return simulate_row(pooled, config)


def simulate_row(kv, config):
    nope = kv.shape[-1] - config.qk_rope_head_dim
    return torch.cat((formats.simulate(kv[..., :nope], 64), kv[..., nope:]), -1)


def index_scores(x, qr, owner, w, prefix, rope, config, numerics):
    """Scores [B, S, E] of the entries for each token; entries of the future included."""
    B, S, _ = x.shape
    heads, d = config.index_n_heads, config.index_head_dim
    q = linear(qr, w[prefix + "wq_b.weight"], numerics).view(B, S, heads, d)
    q = rotate(q, rope.cos[:S], rope.sin[:S])
    if numerics.simulate:
        q = formats.simulate(hadamard(q), 32, fp4=True)
    k = compress(x, owner, w, prefix + "compressor.", 4, rope, config, numerics, for_indexer=True)
    weight = (F.linear(x, w[prefix + "weights_proj.weight"]).float() * (d * heads) ** -0.5).to(x.dtype)
    match = torch.bmm(q.reshape(B, S * heads, d), k.transpose(1, 2)).view(B, S, heads, -1)
    return (F.relu(match) * weight[..., None]).sum(2)


def window_keys(kv, window):
    """kv [B, S, d] -> for each chunk of `window` tokens the chunk before and itself [B, S / window, 2 window, d]."""
    chunks = F.pad(kv, (0, 0, window, 0)).unflatten(1, (-1, window))
    return torch.cat((chunks[:, :-1], chunks[:, 1:]), 2)


def window_mask(S, window, device):
    """[S, 2 window]: the keys of window_keys() that each token may see, those before the row's begin included."""
    i = torch.arange(S, device=device)[:, None]
    j = torch.arange(2 * window, device=device)
    return (j > i % window) & (j <= i % window + window)


def guidance(p, source, ratio):
    """-log of the attention p [B, S, H, E] that the two entries around `source` get."""
    E, known = p.shape[-1], source >= 0
    entry = (source.clamp(min=0) // ratio)[:, :, None, None].expand(-1, -1, p.shape[2], 1)
    mass = p.gather(-1, entry.clamp(max=E - 1)) + p.gather(-1, (entry + 1).clamp(max=E - 1))
    loss = -torch.log(mass.mean((2, 3)) + 1e-6)
    return (loss * known).sum() / (known.sum() + 1)


@dataclass
class Selection:
    """How ratio-4 layers choose entries."""
    top_k: int = 0            # 0: all
    learn: bool = False       # give the indexer's loss
    entry_weight: object = None  # [B, S]: importance of a token in that loss
    source: object = None     # [B, S]: position whose entries a token has to attend to, -1: any


def attention(x, owner, w, ratio, rope, config, numerics, selection):
    """x [B, S, D], S a multiple of the window; owner [B, S] numbers the documents, which do not see each other. Gives
    (out [B, S, D], the indexer's loss)."""
    B, S, _ = x.shape
    H, d, G = config.num_attention_heads, config.head_dim, config.o_groups
    eps, W = config.rms_norm_eps, config.sliding_window
    cos, sin = rope.cos[:S], rope.sin[:S]
    qr = rms_norm(linear(x, w["wq_a.weight"], numerics), w["q_norm.weight"], eps)
    q = linear(qr, w["wq_b.weight"], numerics).view(B, S, H, d).float()
    q = (q * torch.rsqrt(q.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
    q = rotate(q, cos, sin)
    kv = rotate(rms_norm(linear(x, w["wkv.weight"], numerics), w["kv_norm.weight"], eps), cos, sin)
    if numerics.simulate:
        kv = simulate_row(kv, config)

    near = window_keys(kv, W)
    n = S // W
    q_near = q.reshape(B * n, W * H, d)
    near = near.reshape(B * n, 2 * W, d)
    owners = F.pad(owner, (W, 0), value=-2).unflatten(1, (-1, W))
    owners = torch.cat((owners[:, :-1], owners[:, 1:]), 2)
    same = (owner.view(B, n, W, 1) == owners[:, :, None, :]).view(B, S, 2 * W)
    masks = [(window_mask(S, W, x.device) & same)[:, :, None, :]]
    scores = [torch.bmm(q_near, near.transpose(1, 2)).view(B, S, H, 2 * W)]
    entries = None
    index_loss = x.new_zeros((), dtype=torch.float32)
    if ratio and S >= ratio:
        entries = compress(x, owner, w, "compressor.", ratio, rope, config, numerics)
        E = entries.shape[1]
        visible = torch.arange(E, device=x.device) < (torch.arange(S, device=x.device)[:, None] + 1) // ratio
        visible = visible & (owner[:, : E * ratio: ratio][:, None, :] == owner[:, :, None])
        far = torch.bmm(q.reshape(B, S * H, d), entries.transpose(1, 2)).view(B, S, H, E)
        chosen = visible
        if ratio == 4 and (selection.learn or (selection.top_k and E > selection.top_k)):
            index = index_scores(x.detach(), qr.detach(), owner, w, "indexer.", rope, config, numerics)
            index = index.float().masked_fill(~visible, -1e30)
            if selection.top_k and E > selection.top_k:
                best = index.detach().sort(dim=-1, descending=True, stable=True).indices[..., : selection.top_k]
                picked = torch.zeros_like(index, dtype=torch.bool).scatter_(-1, best, True)
                chosen = picked & visible
        scores.append(far)
        masks.append(chosen[:, :, None, :])
    logits = torch.cat([(s.float() * d**-0.5).masked_fill(~m, -1e30) for s, m in zip(scores, masks)]
                       + [w["attn_sink"].float().view(1, 1, H, 1).expand(B, S, H, 1)], -1)
    p = torch.softmax(logits, -1)
    p_near = p[..., : 2 * W].to(x.dtype)
    o = torch.bmm(p_near.reshape(B * n, W * H, 2 * W), near).view(B, S, H, d)
    if entries is not None:
        p_far = p[..., 2 * W: 2 * W + entries.shape[1]]
        o = o + torch.bmm(p_far.to(x.dtype).reshape(B, S * H, -1), entries).view(B, S, H, d)
        if ratio == 4 and selection.learn:
            # The indexer learns the attention that all entries together get, summed over heads.
            target = p_far.detach().sum(2)
            mass = target.sum(-1)
            weight = mass if selection.entry_weight is None else mass * selection.entry_weight
            target = target / (mass[..., None] + 1e-9)
            cross = -(target * torch.log_softmax(index, -1).clamp(min=-100)).sum(-1)
            entropy = -(target * torch.log(target + 1e-9)).sum(-1)
            index_loss = ((cross - entropy) * weight).sum() / (weight.sum() + 1e-6)
            if selection.source is not None:
                index_loss = index_loss + guidance(p_far, selection.source, ratio)
    o = rotate(o, cos, sin, inverse=True).reshape(B, S, G, -1)
    low = torch.einsum("bsgk,grk->bsgr", o, w["wo_a.weight"].view(G, config.o_lora_rank, -1)).flatten(2)
    return linear(low, w["wo_b.weight"], numerics), index_loss


def moe(x, w, ids, config, numerics):
    """x [B, S, D] -> (out, share of the tokens each expert got [E])."""
    B, S, D = x.shape
    experts, k, width = config.n_routed_experts, config.num_experts_per_tok, config.moe_intermediate_size
    scores = torch.sqrt(F.softplus(F.linear(x.float(), w["gate.weight"].float())))
    if "gate.tid2eid" in w:
        picked = w["gate.tid2eid"][ids]
    else:
        picked = (scores.detach() + w["gate.bias"]).topk(k, -1).indices
    mask = torch.zeros_like(scores).scatter(-1, picked, 1.0)
    routing = scores * mask
    routing = routing / routing.sum(-1, keepdim=True) * config.routed_scaling_factor
    quantised = formats.simulate(x, 128) if numerics.simulate else x

    def inner(gate, up, weight=None):
        limit = config.swiglu_limit
        y = F.silu(gate.float().clamp(max=limit)) * up.float().clamp(-limit, limit)
        y = (y if weight is None else y * weight).to(x.dtype)
        return formats.simulate(y, 128) if numerics.simulate else y

    gate = F.linear(quantised, w["experts.w1"].flatten(0, 1)).unflatten(-1, (experts, width))
    up = F.linear(quantised, w["experts.w3"].flatten(0, 1)).unflatten(-1, (experts, width))
    y = F.linear(inner(gate, up, routing[..., None]).flatten(2), w["experts.w2"].transpose(0, 1).flatten(1))
    shared = inner(F.linear(quantised, w["shared_experts.w1.weight"]), F.linear(quantised, w["shared_experts.w3.weight"]))
    return y + F.linear(shared, w["shared_experts.w2.weight"]), mask.mean((0, 1))


def mixing_logits(h, fn, eps):
    """h [B, S, 4, D] -> [B, S, outputs]"""
    flat = h.flatten(2)
    inverse = torch.rsqrt(flat.float().square().mean(-1, keepdim=True) + eps)
    return F.linear(flat, fn.to(flat.dtype)).float() * inverse


def connect(h, w, name, config, sublayer):
    """h' = post f(pre h) + comb^T h"""
    n = config.hc_mult
    base, scale = w[name + "_base"], w[name + "_scale"]
    m = mixing_logits(h, w[name + "_fn"], config.rms_norm_eps)
    pre = torch.sigmoid(m[..., :n] * scale[0] + base[:n]) + config.hc_eps
    post = 2 * torch.sigmoid(m[..., n: 2 * n] * scale[1] + base[n: 2 * n])
    comb = (m[..., 2 * n:] * scale[2] + base[2 * n:]).unflatten(-1, (n, n))
    comb = balance(torch.softmax(comb, -1) + config.hc_eps, config.hc_sinkhorn_iters)
    x = (pre[..., None] * h.float()).sum(2).to(h.dtype)
    y, extra = sublayer(x)
    f = h.float()
    out = post[..., None] * y.float()[:, :, None, :]
    for j in range(n):
        out = out + comb[:, :, j, :, None] * f[:, :, j, None, :]
    return out.to(h.dtype), extra


def growth(h, limit=8.0):
    """How far streams h [B, S, 4, D] outgrow a root mean square of `limit`: squared logarithms, summed over streams."""
    over = torch.relu(0.5 * torch.log(h.float().square().mean(-1) / limit**2 + 1e-9))
    return over.square().sum(-1).mean()


def block(h, w, ids, owner, ratio, rope, config, numerics, selection):
    """One layer: h [B, S, 4, D] -> (h, losses of the indexer and of growth [2], load of the experts)."""
    eps = config.rms_norm_eps
    attn = {k[5:]: v for k, v in w.items() if k.startswith("attn.")}
    ffn = {k[4:]: v for k, v in w.items() if k.startswith("ffn.")}
    h, index_loss = connect(h, w, "hc_attn", config, lambda x: attention(
        rms_norm(x, w["attn_norm.weight"], eps), owner, attn, ratio, rope, config, numerics, selection))
    h, load = connect(h, w, "hc_ffn", config, lambda x: moe(
        rms_norm(x, w["ffn_norm.weight"], eps), ffn, ids, config, numerics))
    return h, torch.stack((index_loss, growth(h))), load


def head(h, w, config, head_weight):
    """h [B, S, 4, D] -> logits [B, S, V]; w has hc_head_* and norm."""
    m = mixing_logits(h, w["hc_head_fn"], config.rms_norm_eps)
    pre = torch.sigmoid(m * w["hc_head_scale"] + w["hc_head_base"]) + config.hc_eps
    x = (pre[..., None] * h.float()).sum(2).to(h.dtype)
    return F.linear(rms_norm(x, w["norm.weight"], config.rms_norm_eps), head_weight)


def scored(h, w, config, head_weight, targets):
    """(negative log likelihood, whether it is the likeliest) of the targets [B, S]"""
    logits = head(h, w, config, head_weight).float()
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    return nll, logits.argmax(-1) == targets


def mtp_input(h, next_ids, w, embedding, config, numerics):
    e = linear(rms_norm(embedding[next_ids], w["enorm.weight"], config.rms_norm_eps), w["e_proj.weight"], numerics)
    c = linear(rms_norm(h, w["hnorm.weight"], config.rms_norm_eps), w["h_proj.weight"], numerics)
    return (e.float()[:, :, None, :] + c.float()).to(h.dtype)


class Model:
    """Runs the layers; `run_*` may be compiled versions of block, scored and mtp_input."""

    def __init__(self, config, tables, device, longest):
        self.config, self.tables = config, tables  # tables: name -> tid2eid
        self.ropes = {c: Rope(config, c, longest, device) for c in (False, True)}
        self.run_block, self.run_head, self.run_mtp_input = block, scored, mtp_input

    def layer_weights(self, weights, prefix):
        own = {k[len(prefix):]: v for k, v in weights.items() if k.startswith(prefix)}
        own.update({k[len(prefix):]: v for k, v in self.tables.items() if k.startswith(prefix)})
        return own

    def trunk(self, ids, owner, weights, numerics, selection):
        """ids, owner [B, S] -> (h, losses of the indexers and of growth [2], loads by layer)"""
        config = self.config
        h = weights["embed.weight"][ids][:, :, None, :].expand(-1, -1, config.hc_mult, -1).contiguous()
        losses, loads = 0.0, {}
        for i, ratio in enumerate(config.ratios):
            h, own, load = self.run_block(h, self.layer_weights(weights, f"layers.{i}."), ids, owner, ratio,
                                          self.ropes[ratio != 0], config, numerics, selection)
            losses, loads[f"layers.{i}.ffn.gate.bias"] = losses + own, load
        return h, losses, loads

    def head(self, h, weights, targets):
        return self.run_head(h, head_weights(weights), self.config, weights["head.weight"], targets)

    def draft(self, h, next_ids, owner, weights, numerics):
        """What the draft block makes of the trunk's h and the tokens that follow: (h, load)."""
        w = self.layer_weights(weights, "mtp.0.")
        x = self.run_mtp_input(h, next_ids, w, weights["embed.weight"], self.config, numerics)
        own = {k: v for k, v in w.items() if k.split(".")[0] not in ("enorm", "hnorm", "e_proj", "h_proj", "norm")
               and not k.startswith("hc_head_")}
        h, _, load = self.run_block(x, own, next_ids, owner, 0, self.ropes[False], self.config, numerics, Selection())
        return h, load

    def draft_head(self, h, weights, targets):
        return self.run_head(h, head_weights(self.layer_weights(weights, "mtp.0.")), self.config, weights["head.weight"],
                             targets)


def head_weights(w):
    return {k: v for k, v in w.items() if k.startswith("hc_head_") or k == "norm.weight"}
