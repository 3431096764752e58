# SPDX-License-Identifier: Apache-2.0
"""The official on-disk format: reads a checkpoint into parameters of model.py and writes them again."""
import json
import os
import struct

import numpy as np
import torch

import number_formats as formats
from model import storage

_E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def _e4m3_table():
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    value = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    return torch.tensor(np.where(codes & 128, -value, value), dtype=torch.float32)


def read_tensors(folder):
    """name -> (dtype name, shape, bytes)"""
    tensors = {}
    for file in sorted(f for f in os.listdir(folder) if f.startswith("model-") and f.endswith(".safetensors")):
        tensors.update(read_file(os.path.join(folder, file)))
    return tensors


def read_file(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8: 8 + length])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + length + t["data_offsets"][0]: 8 + length + t["data_offsets"][1]])
            for name, t in header.items()}


def decode(dtype, shape, data):
    """F32, BF16, I64 or I32 as a tensor."""
    if dtype == "BF16":
        bits = torch.from_numpy(np.frombuffer(data, "<u2").astype(np.int32) << 16)
        return bits.view(torch.float32).view(shape)
    kinds = {"F32": "<f4", "I64": "<i8", "I32": "<i4"}
    return torch.from_numpy(np.frombuffer(data, kinds[dtype]).copy()).view(shape)


def _widen(tensors, name):
    dtype, shape, data = tensors[name + ".weight"]
    if dtype not in ("F8_E4M3", "I8"):
        return decode(dtype, shape, data)
    codes = torch.from_numpy(np.frombuffer(data, np.uint8).astype(np.int64)).view(shape)
    _, scale_shape, scale_data = tensors[name + ".scale"]
    scale = torch.from_numpy(np.frombuffer(scale_data, np.uint8).astype(np.int32)).view(scale_shape)
    scale = formats.exp2_int(scale - 127)
    if dtype == "I8":
        table = torch.tensor(_E2M1 + [-v for v in _E2M1])
        values = torch.stack((table[codes & 15], table[codes >> 4]), -1).flatten(-2)
        return values * scale.repeat_interleave(32, 1)
    values = _e4m3_table()[codes]
    rows, cols = values.shape
    return values * scale.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]


def load(folder):
    """(parameters, tid2eid tables) of a checkpoint, widened exactly."""
    tensors, parameters, tables, experts = read_tensors(folder), {}, {}, {}
    for name in tensors:
        if name.endswith(".scale"):
            continue
        if name.endswith("tid2eid"):
            tables[name] = decode(*tensors[name]).long()
        elif ".experts." in name:
            prefix, rest = name.split(".experts.")
            expert, matrix, _ = rest.split(".")
            experts.setdefault(f"{prefix}.experts.{matrix}", {})[int(expert)] = _widen(tensors, name[:-7])
        elif name.endswith(".weight"):
            parameters[name] = _widen(tensors, name[:-7])
        else:
            parameters[name] = decode(*tensors[name])
    for name, matrices in experts.items():
        parameters[name] = torch.stack([matrices[e] for e in sorted(matrices)])
    return parameters, tables


def _encode_bf16(x):
    return (x.to(torch.bfloat16).view(torch.int16).numpy().tobytes(), "BF16", list(x.shape))


def _encode_fp8(x):
    tiles, exponent = formats.quantise_blocks(formats.fp8_tiles(x), (1, 2), False, 2.0**-100)
    values = formats.untile(tiles, *x.shape)
    order = torch.sort(_e4m3_table()[:127])
    codes = torch.searchsorted(order.values, values.abs().contiguous()).to(torch.uint8)
    codes = codes | ((values < 0).to(torch.uint8) << 7)
    rows, cols = x.shape
    scales = (exponent.view(rows // 128, cols // 128) + 127).to(torch.uint8)
    return (codes.numpy().tobytes(), "F8_E4M3", [rows, cols]), (scales.numpy().tobytes(), "F8_E8M0", list(scales.shape))


def _encode_fp4(x):
    rows, cols = x.shape
    values, exponent = formats.quantise_blocks(x.reshape(-1, 32), -1, True, 2.0**-100)
    values = values.view(rows, cols)
    codes = torch.searchsorted(torch.tensor(_E2M1), values.abs().contiguous()).to(torch.uint8)
    codes = codes | ((values < 0).to(torch.uint8) << 3)
    packed = codes[:, 0::2] | (codes[:, 1::2] << 4)
    scales = (exponent.view(rows, cols // 32) + 127).to(torch.uint8)
    return (packed.numpy().tobytes(), "I8", [rows, cols // 2]), (scales.numpy().tobytes(), "F8_E8M0", list(scales.shape))


def encode(parameters, tables):
    """name -> (bytes, dtype, shape) as the files hold them."""
    tensors = {}
    for name, value in parameters.items():
        value, kind = value.detach().float().cpu(), storage(name)
        if kind == "fp8":
            tensors[name], tensors[name[:-6] + "scale"] = _encode_fp8(value)
        elif kind == "fp4":
            prefix, matrix = name.rsplit(".", 1)
            for e in range(value.shape[0]):
                own = f"{prefix}.{e}.{matrix}"
                tensors[own + ".weight"], tensors[own + ".scale"] = _encode_fp4(value[e])
        elif kind == "bf16":
            tensors[name] = _encode_bf16(value)
        else:
            tensors[name] = (value.numpy().astype("<f4").tobytes(), "F32", list(value.shape))
    for name, value in tables.items():
        tensors[name] = (value.cpu().numpy().astype("<i8").tobytes(), "I64", list(value.shape))
    return tensors


def _shard_of(name, layers):
    parts = name.split(".")
    if parts[0] == "embed":
        return 0
    if parts[0] == "layers":
        return 1 + int(parts[1])
    return layers + (2 if parts[0] == "mtp" else 1)


def save(folder, config, parameters, tables):
    """Writes config.json, one shard for the embedding, each layer, the head and the draft block, and the index."""
    os.makedirs(folder, exist_ok=True)
    tensors = encode(parameters, tables)
    layers = config.num_hidden_layers
    count = layers + 3
    shards = [{} for _ in range(count)]
    for name in sorted(tensors):
        shards[_shard_of(name, layers)][name] = tensors[name]
    index, total = {}, 0
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
        header, offset = {}, 0
        for name, (data, dtype, shape) in shard.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
            offset += len(data)
            index[name] = file
        total += offset
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(folder, file), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for data, _, _ in shard.values():
                out.write(data)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as out:
        json.dump({"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, out,
                  separators=(",", ":"))
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config.fields, out, indent=1)
