# SPDX-License-Identifier: Apache-2.0
"""Muon for the matrices of products, AdamW for everything else."""
import torch

MUON_PARTS = ("wq_a", "wq_b", "wkv", "wgate", "wo_a", "wo_b", "w1", "w2", "w3", "e_proj", "h_proj")


def by_muon(name):
    return any(part in MUON_PARTS for part in name.split("."))


def orthogonalised(g):
    """g [N, r, c] -> its nearest semi-orthogonal matrices, by five Newton-Schulz steps in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16)
    turned = x.shape[1] > x.shape[2]
    if turned:
        x = x.transpose(1, 2)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(5):
        s = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if turned else x


class Optimiser:
    def __init__(self, parameters, muon_decay=0.1, embedding_decay=0.0):
        self.parameters, self.decay = parameters, muon_decay
        self.groups = {}  # shape -> names
        for name, p in parameters.items():
            if by_muon(name):
                self.groups.setdefault(tuple(p.shape[-2:]), []).append(name)
        self.rest = [n for n in parameters if not by_muon(n) and not n.endswith("gate.bias")]
        self.momentum = {n: torch.zeros_like(p) for n, p in parameters.items() if by_muon(n)}
        self.first = {n: torch.zeros_like(parameters[n]) for n in self.rest}
        self.second = {n: torch.zeros_like(parameters[n]) for n in self.rest}
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients, muon_rate, adam_rate):
        self.steps += 1
        for (rows, cols), names in self.groups.items():
            stacked = []
            for n in names:
                m, g = self.momentum[n], gradients[n].float()
                m.lerp_(g, 0.05)
                stacked.append(g.lerp(m, 0.95).reshape(-1, rows, cols))
            counts = [s.shape[0] for s in stacked]
            update = orthogonalised(torch.cat(stacked)).float() * (0.2 * max(rows, cols) ** 0.5)
            for n, u in zip(names, update.split(counts)):
                p = self.parameters[n]
                p.mul_(1 - muon_rate * self.decay).add_(u.reshape(p.shape), alpha=-muon_rate)
        p = [self.parameters[n] for n in self.rest]
        g = [gradients[n].float() for n in self.rest]
        m, v = [self.first[n] for n in self.rest], [self.second[n] for n in self.rest]
        torch._foreach_mul_(m, 0.9)
        torch._foreach_add_(m, g, alpha=0.1)
        torch._foreach_mul_(v, 0.98)
        torch._foreach_addcmul_(v, g, g, 0.02)
        root = torch._foreach_sqrt(torch._foreach_div(v, 1 - 0.98**self.steps))
        torch._foreach_add_(root, 1e-8)
        torch._foreach_addcdiv_(p, m, root, value=-adam_rate / (1 - 0.9**self.steps))

    def state(self):
        return {"momentum": {n: m.to(torch.bfloat16) for n, m in self.momentum.items()}, "first": self.first,
                "second": self.second, "steps": self.steps}

    def load(self, state):
        self.steps = state["steps"]
        for mine, theirs in ((self.momentum, state["momentum"]), (self.first, state["first"]),
                             (self.second, state["second"])):
            for n in mine:
                mine[n].copy_(theirs[n])
