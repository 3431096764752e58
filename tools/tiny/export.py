# SPDX-License-Identifier: Apache-2.0
"""Writes the model of a training state in the official format: export.py STATE-FOLDER MODEL-FOLDER"""
import io
import os
import sys

import torch

import checkpoint
from initial import initial_parameters, tiny_config


def main(state_folder, folder):
    names = sorted((f for f in os.listdir(state_folder) if f.startswith("state.")), key=lambda f: int(f[6:]))
    data = b"".join(open(os.path.join(state_folder, f), "rb").read() for f in names)
    parameters = torch.load(io.BytesIO(data), map_location="cpu")["parameters"]
    config = tiny_config()
    _, tables = initial_parameters(config)
    checkpoint.save(folder, config, parameters, tables)


if __name__ == "__main__":
    main(*sys.argv[1:])
