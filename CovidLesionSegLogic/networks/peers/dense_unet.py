"""Dense U-Net: the 2-D part of H-DenseUNet (Li et al. 2018, doi:10.1109/TMI.2018.2845918)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import check_input, conv_bn_relu, initialise
from .densenet import DenseNet161
from .peer import Peer

STEPS = (768, 384, 96, 96, 64)


class DenseUNet(Peer):
    """DenseNet-161 encoder; five times upsampling, skip *added*, 3x3 convolution to 768 ... 64.

    The skips are the features the additions' sizes call for; only the deepest pair differs (2208
    and 2112 channels). The missing channels of that skip are taken as zero, our reading: a learnt
    1x1 projection would add 4.7 M parameters, and the tables of Inf-Net state 45.08 M.

    Parameters
    ----------
    n_classes
        Lesion classes, one in the tables.
    """

    def __init__(self, *, n_classes: int = 1) -> None:
        super().__init__(n_classes)
        self.encoder = DenseNet161()
        self.up = nn.ModuleList(
            conv_bn_relu(before, after, 3)
            for before, after in zip((self.encoder.channels[-1], *STEPS[:-1]), STEPS, strict=True)
        )
        self.head = nn.Conv2d(STEPS[-1], n_classes, 1)
        for module in (self.up, self.head):
            initialise(module)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits {"m1": (B, n_classes, H, W)} for a normalised image (B, 3, H, W)."""
        check_input(x, self.encoder.strides[-1])
        *skips, y = self.encoder(x)
        for i, block in enumerate(self.up):
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
            if i < len(skips):
                skip = skips[-1 - i]
                y = y + F.pad(skip, (0, 0, 0, 0, 0, y.shape[1] - skip.shape[1]))
            y = block(y)
        return {"m1": self.head(y)}
