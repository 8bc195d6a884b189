"""U-Net++ (Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..blocks import check_input, initialise, resize_like
from .peer import LEVELS, ContractingPath, Peer, double_conv, level_channels


class UNetPlusPlus(Peer):
    """Five levels whose skips are themselves nested, densely connected decoders.

    Node (i, j) at level i is a double convolution of all earlier nodes of its level and of node
    (i + 1, j - 1) upsampled; column 0 is the encoder. 9.16 M parameters at the default width.

    Parameters
    ----------
    width
        Channels of the finest level; each level below doubles them.
    deep_supervision
        Supervise the finest level's four nodes ("m4" to "m1", the last one the deepest decoder);
        the prediction is then their mean, the original's accurate mode. Off as in the tables.
    n_classes
        Lesion classes; every supervised node has a map for each.
    """

    def __init__(
        self, width: int = 32, *, deep_supervision: bool = False, n_classes: int = 1
    ) -> None:
        super().__init__(n_classes)
        channels = level_channels(width)
        self.encoder = ContractingPath(channels)
        self.columns = nn.ModuleList(
            nn.ModuleList(
                double_conv(column * channels[level] + channels[level + 1], channels[level])
                for level in range(LEVELS - column)
            )
            for column in range(1, LEVELS)
        )
        self.deep_supervision = deep_supervision
        supervised = range(1, LEVELS) if deep_supervision else (LEVELS - 1,)
        self.heads = nn.ModuleDict(
            {str(column): nn.Conv2d(width, n_classes, 1) for column in supervised}
        )
        initialise(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, n_classes, H, W) by name for a normalised image (B, 3, H, W)."""
        check_input(x, 16)
        rows = [[feature] for feature in self.encoder(x)]
        for column in self.columns:
            assert isinstance(column, nn.ModuleList)
            below = [row[-1] for row in rows[1:]]
            # The column is one shorter than those before it: the coarsest level drops out.
            for row, block, coarser in zip(rows, column, below, strict=False):
                row.append(block(torch.cat([*row, resize_like(coarser, row[0])], dim=1)))
        return {
            f"m{LEVELS - int(column)}": head(rows[0][int(column)])
            for column, head in self.heads.items()
        }

    def predict_logits(self, x: Tensor) -> Tensor:
        """Logits (B, n_classes, H, W): the mean over the supervised nodes."""
        return torch.stack(list(self(x).values())).mean(0)
