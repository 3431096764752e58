# SPDX-License-Identifier: Apache-2.0
"""FP8, FP4 and power-of-two scales as DeepSeek-V4 defines them: rounding, packing, straight-through gradients."""
import torch

E4M3_MAX = 448.0
E2M1_MAX = 6.0


def _power_of_two(x):
    """The power of two at or below |x|, by its exponent bits."""
    return (x.view(torch.int32) & 0x7F800000).view(torch.float32)


def round_e4m3(x):
    """f32 -> the nearest e4m3 value, ties to even, saturating."""
    step = torch.clamp(_power_of_two(x), min=2.0**-6) * 0.125
    return torch.clamp(torch.round(x / step) * step, -E4M3_MAX, E4M3_MAX)


def round_e2m1(x):
    """f32 -> the nearest of 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives, ties to the even code."""
    step = torch.clamp(_power_of_two(x), min=1.0) * 0.5
    return torch.clamp(torch.round(x / step) * step, -E2M1_MAX, E2M1_MAX)


def scale_exponent(amax, fp4):
    """ceil(log2(amax / 448)), or of amax / 6 for FP4, from the bits; amax > 0, f32."""
    bits = amax.view(torch.int32)
    if fp4:
        return ((bits + 0x3FFFFF) >> 23) - 127 - 2
    return ((bits + 0x1FFFFF) >> 23) - 127 - 8


def exp2_int(exponent):
    return ((exponent + 127) << 23).view(torch.float32)


def quantise_blocks(x, dims, fp4, floor):
    """f32 x -> (codes as f32 values, scale exponents); one scale over the dimensions `dims`."""
    exponent = scale_exponent(torch.clamp(x.abs().amax(dims, keepdim=True), min=floor), fp4)
    codes = x / exp2_int(exponent)
    return (round_e2m1 if fp4 else round_e4m3)(codes), exponent


def simulate(x, block, fp4=False):
    """What remains of x [..., K] after quantising `block` neighbours together; the gradient passes through."""
    f = x.float().unflatten(-1, (-1, block))
    codes, exponent = quantise_blocks(f.detach(), -1, fp4, 6 * 2.0**-126 if fp4 else 1e-4)
    q = codes * exp2_int(exponent)
    return (f + (q - f).detach()).flatten(-2).to(x.dtype)


class _RoundWeights(torch.autograd.Function):
    """Quantised and widened again; the gradient passes through."""

    @staticmethod
    def forward(ctx, x, dims, fp4):
        codes, exponent = quantise_blocks(x, dims, fp4, 2.0**-100)
        return codes * exp2_int(exponent)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None


def fp8_tiles(w):
    """[N, K] -> [tiles, 128, 128]"""
    n, k = w.shape
    return w.reshape(n // 128, 128, k // 128, 128).transpose(1, 2).reshape(-1, 128, 128)


def untile(tiles, n, k):
    return tiles.reshape(n // 128, k // 128, 128, 128).transpose(1, 2).reshape(n, k)


def rounded_fp8(matrices):
    """A list of f32 matrices whose sides are multiples of 128 -> the same as FP8 keeps them, in one pass."""
    tiles = [fp8_tiles(w) for w in matrices]
    rounded = _RoundWeights.apply(torch.cat(tiles), (1, 2), False)
    parts = rounded.split([t.shape[0] for t in tiles])
    return [untile(p, *w.shape) for p, w in zip(parts, matrices)]


def rounded_fp4(matrices):
    """The same for FP4: one scale for 32 neighbours along K."""
    rows = [w.reshape(-1, 32) for w in matrices]
    rounded = _RoundWeights.apply(torch.cat(rows), -1, True)
    parts = rounded.split([r.shape[0] for r in rows])
    return [p.reshape(w.shape) for p, w in zip(parts, matrices)]
