"""Feature distillation: an encoder without public weights learns what ResNet-50 knows.

No ImageNet weights of Res2Net-50 or VGG16 can be had everywhere, those of ResNet-50 can. The
student is trained, without any label, to reproduce the teacher's features on CT slices: FitNets
(Romero et al., ICLR 2015) with each level in units of the teacher's variance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.networks.blocks import Encoder

from .lesions import LesionBatch
from .trainer import Schedule, Trainer


class Distillation(nn.Module):
    """A student encoder beside its frozen teacher.

    Levels are paired by stride; where the numbers of channels differ, a 1x1 convolution that is
    thrown away afterwards leads from the student's channels to the teacher's.

    Parameters
    ----------
    encoder
        The student.
    teacher
        Trained; stays as it is, batch statistics included.
    """

    def __init__(self, encoder: Encoder, teacher: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.pairs = [
            (mine, teacher.strides.index(stride))
            for mine, stride in enumerate(encoder.strides)
            if stride in teacher.strides
        ]
        self.project = nn.ModuleList(
            nn.Identity()
            if encoder.channels[mine] == teacher.channels[theirs]
            else nn.Conv2d(encoder.channels[mine], teacher.channels[theirs], 1)
            for mine, theirs in self.pairs
        )
        # In a list, so that the teacher is neither trained nor averaged nor saved.
        self._teacher = [teacher.eval().requires_grad_(False)]

    def loss(self, images: Tensor) -> Tensor:
        """Share of the teacher's variance that the student does not explain, mean over levels.

        Parameters
        ----------
        images
            (B, 3, S, S), normalised.
        """
        with torch.no_grad():
            wanted = self._teacher[0](images)
        got = self.encoder(images)
        total = images.new_zeros(())
        for project, (mine, theirs) in zip(self.project, self.pairs, strict=True):
            target = wanted[theirs].float()
            spread = target.var((0, 2, 3)).mean() + 1e-6
            total = total + (project(got[mine]).float() - target).square().mean() / spread
        return total / len(self.pairs)


def distill(
    distillation: Distillation,
    batches: Callable[[int], LesionBatch],
    schedule: Schedule,
    folder: Path,
    *,
    held_out: LesionBatch,
) -> None:
    """Train; ``folder`` gets checkpoints and ``encoder.pt``, the student's state dict.

    Parameters
    ----------
    batches
        Step to batch; the masks are not looked at.
    held_out
        On which the loss is logged.
    """

    def batch_loss(network: nn.Module, batch: LesionBatch) -> Tensor:
        assert isinstance(network, Distillation)
        return network.loss(batch.images)

    @torch.no_grad()
    def validate(network: nn.Module) -> dict[str, float]:
        assert isinstance(network, Distillation)
        loss = float(network.loss(held_out.images))
        return {"held_out_loss": loss, "score": -loss}

    trainer = Trainer(
        distillation,
        schedule,
        make_batch=batches,
        loss=batch_loss,
        validate=validate,
        folder=folder,
    )
    trainer.run()
    averaged = trainer.averaged
    assert isinstance(averaged, Distillation)
    with atomic_path(folder / "encoder.pt") as temporary:
        torch.save(averaged.encoder.state_dict(), temporary)
