# SPDX-License-Identifier: Apache-2.0
"""Sizes of the model, under the names of config.json."""
import json
import math


class Config:
    def __init__(self, fields):
        self.fields = fields
        self.__dict__.update(fields)
        self.mtp_ratio = 0

    @property
    def ratios(self):
        return self.compress_ratios[: self.num_hidden_layers]


def load_config(path):
    with open(path) as file:
        return Config(json.load(file))


def rope_frequencies(config, compresses):
    """Angles a position, f32, of each pair; YaRN in the layers that compress."""
    import numpy as np

    dims = config.qk_rope_head_dim
    theta = config.compress_rope_theta if compresses else config.rope_theta
    exponent = (np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims)).astype(np.float64)
    frequency = (np.float32(1) / np.power(float(theta), exponent).astype(np.float32)).astype(np.float32)
    yarn = config.fields.get("rope_scaling")
    if not compresses or not yarn:
        return frequency
    original = yarn["original_max_position_embeddings"]

    def dimension(rotations):
        return dims * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(yarn["beta_fast"])), 0)
    high = min(math.ceil(dimension(yarn["beta_slow"])), dims - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(dims // 2, dtype=np.float32) - low) / (high - low), 0, 1).astype(np.float32)
    return frequency / np.float32(yarn["factor"]) * ramp + frequency * (1 - ramp)
