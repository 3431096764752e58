# SPDX-License-Identifier: Apache-2.0
"""Holds model.py against the goldens of a checkpoint: check_architecture.py FOLDER (with golden.safetensors).

fp32: logits of every prompt; native: last logits of the short ones. Exits 1 when they differ."""
import sys

import torch

import checkpoint
from config import load_config
from model import EXACT, Model, NATIVE, Selection, head, head_weights, widened


def main(folder):
    config = load_config(folder + "/config.json")
    parameters, tables = checkpoint.load(folder)
    golden = {k: checkpoint.decode(*v) for k, v in checkpoint.read_file(folder + "/golden.safetensors").items()}
    model = Model(config, tables, "cpu", 1024)
    exact, native = widened(parameters, torch.float32), widened(parameters, torch.bfloat16)
    selection, bad = Selection(top_k=config.index_topk), 0
    for name in sorted(n for n in golden if n.endswith(".ids")):
        ids = golden[name].long()
        length = len(ids)
        padded = torch.cat((ids, torch.zeros(-length % config.sliding_window, dtype=torch.long)))[None]
        owner = torch.zeros_like(padded)
        h, _, _ = model.trunk(padded, owner, exact, EXACT, selection)
        expected = golden[name[:-3] + "fp32.logits"]
        got = head(h, head_weights(exact), config, exact["head.weight"])[0, :length][-len(expected):]
        worst = (got - expected).abs().max().item()
        h, _, _ = model.trunk(padded, owner, native, NATIVE, selection)
        last = head(h, head_weights(native), config, native["head.weight"])[0, length - 1].float()
        cosine = torch.cosine_similarity(last, golden[name[:-3] + "native.last_logits"], 0).item()
        following = torch.cat((ids[1:], golden[name[:-3] + "fp32.greedy_ids"][:1].long()))
        following = torch.cat((following, torch.zeros(-length % config.sliding_window, dtype=torch.long)))[None]
        h, _ = model.draft(h, following, owner, native, NATIVE)
        drafted = head(h, head_weights(model.layer_weights(native, "mtp.0.")), config, native["head.weight"])[0, length - 1].float()
        mtp = torch.cosine_similarity(drafted, golden[name[:-3] + "native.mtp_last_logits"], 0).item()
        print(f"{name[:-4]}: fp32 differs by {worst:.2e}; native cosine {cosine:.4f}, draft {mtp:.4f}")
        bad += worst > 2e-4 or (length <= 3 and (cosine < 0.99 or mtp < 0.99))
    return 1 if bad else 0


if __name__ == "__main__":
    with torch.no_grad():
        sys.exit(main(sys.argv[1]))
