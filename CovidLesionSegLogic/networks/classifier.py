"""A slice classifier: an encoder, global average pooling and a linear layer.

With "seresnet34" it is the SE-ResNet-34 "trained from scratch" that the coarse-refine paper
compares its gate with (Table 6; its "last layer is changed from a thousand categories to two
categories", section 2.8).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .encoders import build_encoder


class SliceClassifier(nn.Module):
    """Logits (B, 2) of a normalised image (B, 3, H, W): without infection and with.

    Parameters
    ----------
    encoder, encoder_options
        Name and keyword options of the encoder.
    """

    n_outputs = 2

    def __init__(
        self, encoder: str = "seresnet34", *, encoder_options: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder, **(encoder_options or {}))
        self.fc = nn.Linear(self.encoder.channels[-1], self.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.encoder(x)[-1].mean((2, 3)))
        return logits
