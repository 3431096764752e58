# SPDX-License-Identifier: Apache-2.0
"""The doubly stochastic mix of hyper-connections: rows and columns of 4x4 matrices divided by their sums in turn.

The iteration only scales: comb = diag(r) K diag(c) with c = 1 / (K^T r), r = 1 / (K c). (The eps of 1e-6 in each
division changes the result by as much and is left out.)"""
import functools

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # a CPU: the plain loop below
    triton = None


def balance_plain(k, iterations):
    """k [..., 4, 4], positive -> the same with columns (and nearly rows) that sum to 1. Differentiable."""
    c = 1 / k.sum(-2)
    r = None
    for _ in range(iterations - 1):
        r = 1 / (k * c[..., None, :]).sum(-1)
        c = 1 / (k * r[..., :, None]).sum(-2)
    out = k * c[..., None, :]
    return out if r is None else out * r[..., :, None]


if triton is not None:

    def _source(backward):
        """One thread a token, everything in registers: the 16 entries are 16 variables."""
        pairs = [(j, i) for j in range(4) for i in range(4)]
        name = "_backward_kernel" if backward else "_forward_kernel"
        lines = ["@triton.jit"]
        lines.append(f"def {name}(k_ptr, out_ptr, " + ("grad_ptr, scratch_ptr, " if backward else "")
                     + "count, iterations, BLOCK: tl.constexpr):")
        add = lambda text, level=1: lines.append("    " * level + text)
        add("t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)")
        add("m = t < count")
        for j, i in pairs:
            add(f"k{j}{i} = tl.load(k_ptr + t * 16 + {4 * j + i}, mask=m, other=1.0)")
        for i in range(4):
            add(f"c{i} = 1.0 / (" + " + ".join(f"k{j}{i}" for j in range(4)) + ")")
        for j in range(4):
            add(f"r{j} = c0 * 0 + 1.0")
        if backward:
            for i in range(4):
                add(f"tl.store(scratch_ptr + {4 + i} * count + t, c{i}, mask=m)")
        add("for n in range(1, iterations):")
        for j in range(4):
            add(f"r{j} = 1.0 / (" + " + ".join(f"k{j}{i} * c{i}" for i in range(4)) + ")", 2)
        for i in range(4):
            add(f"c{i} = 1.0 / (" + " + ".join(f"k{j}{i} * r{j}" for j in range(4)) + ")", 2)
        if not backward:
            for j, i in pairs:
                add(f"tl.store(out_ptr + t * 16 + {4 * j + i}, k{j}{i} * r{j} * c{i}, mask=m)")
            return "\n".join(lines)
        for v in "rc":
            for i in range(4):
                add(f"tl.store(scratch_ptr + (n * 8 + {i + (4 if v == 'c' else 0)}) * count + t, {v}{i}, mask=m)", 2)
        for j, i in pairs:
            add(f"g{j}{i} = tl.load(grad_ptr + t * 16 + {4 * j + i}, mask=m, other=0.0)")
        for j in range(4):
            add(f"dr{j} = " + " + ".join(f"g{j}{i} * k{j}{i} * c{i}" for i in range(4)))
        for i in range(4):
            add(f"dc{i} = " + " + ".join(f"g{j}{i} * k{j}{i} * r{j}" for j in range(4)))
        for j, i in pairs:
            add(f"d{j}{i} = g{j}{i} * r{j} * c{i}")
        add("tl.debug_barrier()")
        add("for b in range(1, iterations):")
        add("n = iterations - b", 2)
        for i in range(4):
            add(f"p{i} = tl.load(scratch_ptr + (n * 8 - 4 + {i}) * count + t, mask=m, other=1.0)", 2)
        for i in range(4):
            add(f"v{i} = -dc{i} * c{i} * c{i}", 2)
        for j, i in pairs:
            add(f"d{j}{i} += v{i} * r{j}", 2)
        for j in range(4):
            add(f"dr{j} += " + " + ".join(f"v{i} * k{j}{i}" for i in range(4)), 2)
            add(f"u{j} = -dr{j} * r{j} * r{j}", 2)
        for j, i in pairs:
            add(f"d{j}{i} += u{j} * p{i}", 2)
        for i in range(4):
            add(f"dc{i} = " + " + ".join(f"u{j} * k{j}{i}" for j in range(4)), 2)
            add(f"c{i} = p{i}", 2)
        for j in range(4):
            add(f"dr{j} = u{j} * 0", 2)
            add(f"r{j} = tl.load(scratch_ptr + (tl.maximum(n - 1, 1) * 8 + {j}) * count + t, mask=m, other=1.0)", 2)
        for i in range(4):
            add(f"v{i} = -dc{i} * c{i} * c{i}")
        for j, i in pairs:
            add(f"tl.store(out_ptr + t * 16 + {4 * j + i}, d{j}{i} + v{i}, mask=m)")
        return "\n".join(lines)

    @functools.lru_cache(None)
    def _compile(backward):
        import importlib.util
        import os
        import tempfile

        # Triton reads a kernel's source from its file.
        path = os.path.join(tempfile.gettempdir(), f"sinkhorn_{'backward' if backward else 'forward'}.py")
        with open(path, "w") as file:
            file.write("import triton\nimport triton.language as tl\n\n\n" + _source(backward) + "\n")
        spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module._backward_kernel if backward else module._forward_kernel

    _BLOCK = 128

    @torch.library.custom_op("tiny::sinkhorn", mutates_args=())
    def _balance(k: torch.Tensor, iterations: int) -> torch.Tensor:
        kernel = _compile(False)
        k = k.contiguous()
        out = torch.empty_like(k)
        count = k.numel() // 16
        kernel[(triton.cdiv(count, _BLOCK),)](k, out, count, iterations, BLOCK=_BLOCK, num_warps=4)
        return out

    @_balance.register_fake
    def _(k, iterations):
        return torch.empty_like(k, memory_format=torch.contiguous_format)

    @torch.library.custom_op("tiny::sinkhorn_backward", mutates_args=())
    def _balance_backward(k: torch.Tensor, grad: torch.Tensor, iterations: int) -> torch.Tensor:
        kernel = _compile(True)
        k, grad = k.contiguous(), grad.contiguous()
        out = torch.empty_like(k)
        count = k.numel() // 16
        scratch = torch.empty(iterations * 8 * count, dtype=torch.float32, device=k.device)
        kernel[(triton.cdiv(count, _BLOCK),)](k, out, grad, scratch, count, iterations, BLOCK=_BLOCK, num_warps=4)
        return out

    @_balance_backward.register_fake
    def _(k, grad, iterations):
        return torch.empty_like(k, memory_format=torch.contiguous_format)

    def _setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.iterations = inputs[1]

    _balance.register_autograd(
        lambda ctx, grad: (_balance_backward(ctx.saved_tensors[0], grad, ctx.iterations), None), setup_context=_setup)


def balance(k, iterations):
    if k.is_cuda and triton is not None:
        return _balance(k, iterations)
    return balance_plain(k, iterations)
