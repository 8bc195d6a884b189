"""Names and shapes of public ImageNet weights, written down from each layout's own rule.

These are independent of the package's encoders: what is listed here is what a file holds, the
image classifier included.
"""

from __future__ import annotations

import torch

Shapes = dict[str, tuple[int, ...]]
PLANES, BLOCKS, EXPANSION = (64, 128, 256, 512), (3, 4, 6, 3), 4


def _norm(name: str, channels: int) -> Shapes:
    values = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{v}": (channels,) for v in values} | {f"{name}.num_batches_tracked": ()}


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def resnet50() -> Shapes:
    """torchvision and timm ``resnet50``."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | _norm("bn1", 64)
    inputs = 64
    for stage, (planes, blocks) in enumerate(zip(PLANES, BLOCKS, strict=True), start=1):
        for block in range(blocks):
            p = f"layer{stage}.{block}"
            outputs = planes * EXPANSION
            shapes |= {f"{p}.conv1.weight": (planes, inputs, 1, 1)} | _norm(f"{p}.bn1", planes)
            shapes |= {f"{p}.conv2.weight": (planes, planes, 3, 3)} | _norm(f"{p}.bn2", planes)
            shapes |= {f"{p}.conv3.weight": (outputs, planes, 1, 1)} | _norm(f"{p}.bn3", outputs)
            if block == 0:
                shapes[f"{p}.downsample.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= _norm(f"{p}.downsample.1", outputs)
            inputs = outputs
    return shapes | _linear("fc", 1000, 2048)


def res2net50d() -> Shapes:
    """timm ``res2net50d``: deep stem, average-pool shortcuts, 26 channels in each of 4 splits."""
    shapes: Shapes = {"conv1.0.weight": (32, 3, 3, 3)} | _norm("conv1.1", 32)
    shapes |= {"conv1.3.weight": (32, 32, 3, 3)} | _norm("conv1.4", 32)
    shapes |= {"conv1.6.weight": (64, 32, 3, 3)} | _norm("bn1", 64)
    inputs = 64
    for stage, (planes, blocks) in enumerate(zip(PLANES, BLOCKS, strict=True), start=1):
        width = 26 * planes // 64
        for block in range(blocks):
            p = f"layer{stage}.{block}"
            outputs = planes * EXPANSION
            shapes[f"{p}.conv1.weight"] = (4 * width, inputs, 1, 1)
            shapes |= _norm(f"{p}.bn1", 4 * width)
            for split in range(3):
                shapes[f"{p}.convs.{split}.weight"] = (width, width, 3, 3)
                shapes |= _norm(f"{p}.bns.{split}", width)
            shapes[f"{p}.conv3.weight"] = (outputs, 4 * width, 1, 1)
            shapes |= _norm(f"{p}.bn3", outputs)
            if block == 0:
                shapes[f"{p}.downsample.1.weight"] = (outputs, inputs, 1, 1)
                shapes |= _norm(f"{p}.downsample.2", outputs)
            inputs = outputs
    return shapes | _linear("fc", 1000, 2048)


def seresnet34() -> Shapes:
    """timm ``seresnet34``: squeeze to a sixteenth of the channels, at least 8, by convolutions."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | _norm("bn1", 64)
    inputs = 64
    for stage, (planes, blocks) in enumerate(zip(PLANES, BLOCKS, strict=True), start=1):
        squeezed = max(8, planes // 16)
        for block in range(blocks):
            p = f"layer{stage}.{block}"
            shapes |= {f"{p}.conv1.weight": (planes, inputs, 3, 3)} | _norm(f"{p}.bn1", planes)
            shapes |= {f"{p}.conv2.weight": (planes, planes, 3, 3)} | _norm(f"{p}.bn2", planes)
            shapes |= {f"{p}.se.fc1.weight": (squeezed, planes, 1, 1)}
            shapes |= {f"{p}.se.fc1.bias": (squeezed,)}
            shapes |= {f"{p}.se.fc2.weight": (planes, squeezed, 1, 1)}
            shapes |= {f"{p}.se.fc2.bias": (planes,)}
            if inputs != planes:
                shapes[f"{p}.downsample.0.weight"] = (planes, inputs, 1, 1)
                shapes |= _norm(f"{p}.downsample.1", planes)
            inputs = planes
    return shapes | _linear("fc", 1000, 512)


def vgg16() -> Shapes:
    """torchvision ``vgg16``: the numbers count convolutions, ReLUs and poolings."""
    shapes: Shapes = {}
    layer, inputs = 0, 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            shapes[f"features.{layer}.weight"] = (outputs, inputs, 3, 3)
            shapes[f"features.{layer}.bias"] = (outputs,)
            layer, inputs = layer + 2, outputs
        layer += 1
    shapes |= _linear("classifier.0", 4096, 512 * 7 * 7)
    return shapes | _linear("classifier.3", 4096, 4096) | _linear("classifier.6", 1000, 4096)


def densenet161() -> Shapes:
    """torchvision ``densenet161``, the names of the model's state dict (not of the older file)."""
    shapes: Shapes = {"features.conv0.weight": (96, 3, 7, 7)} | _norm("features.norm0", 96)
    inputs = 96
    for block, layers in enumerate((6, 12, 36, 24), start=1):
        for layer in range(1, layers + 1):
            p = f"features.denseblock{block}.denselayer{layer}"
            shapes |= _norm(f"{p}.norm1", inputs) | {f"{p}.conv1.weight": (192, inputs, 1, 1)}
            shapes |= _norm(f"{p}.norm2", 192) | {f"{p}.conv2.weight": (48, 192, 3, 3)}
            inputs += 48
        if block < 4:
            p = f"features.transition{block}"
            shapes |= _norm(f"{p}.norm", inputs)
            shapes[f"{p}.conv.weight"] = (inputs // 2, inputs, 1, 1)
            inputs //= 2
    return shapes | _norm("features.norm5", inputs) | _linear("classifier", 1000, inputs)


def empty_state(shapes: Shapes) -> dict[str, torch.Tensor]:
    """The state dict without memory behind it."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
