"""VGG16 encoder (Simonyan and Zisserman 2015) with the public state-dict names (torchvision).

The plain form without batch normalisation, configuration D: what Table 2 of the Ref-Net paper and
Inf-Net call VGG16. torchvision's ``vgg16_bn`` has other layer numbers and does not load here.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import Encoder, initialise

CONVOLUTIONS = (2, 2, 3, 3, 3)


class VGG16(Encoder):
    """Features at strides 1, 2, 4, 8, 16 with 64, 128, 256, 512, 512 channels.

    Each is the last ReLU of a block. The pooling after the fifth block belongs to the classifier
    and is left out, as in Inf-Net's use of the network; it has no parameters, so public weights
    load all the same.
    """

    channels = (64, 128, 256, 512, 512)
    strides = (1, 2, 4, 8, 16)
    classifier = "classifier."

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 3
        for channels, count in zip(self.channels, CONVOLUTIONS, strict=True):
            if layers:
                layers.append(nn.MaxPool2d(2, stride=2))
            for _ in range(count):
                layers += [nn.Conv2d(previous, channels, 3, padding=1), nn.ReLU(inplace=True)]
                previous = channels
        self.features = nn.Sequential(*layers)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five features of a normalised image (B, 3, H, W), finest first."""
        features: list[Tensor] = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                features.append(x)
            x = layer(x)
        return [*features, x]
