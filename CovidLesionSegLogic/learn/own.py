"""Train a lesion network on a user's own slices or volumes, from the request to a model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from CovidLesionSegLogic.ct.cases import find_cases
from CovidLesionSegLogic.engine import (
    Cancel,
    Progress,
    choose_device,
    no_progress,
)
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import ModelCard, list_models
from CovidLesionSegLogic.outputs import check_output_folder

from .batches import LesionBatch, LesionBatches, refnet_batch_loss
from .checkpoint import BEST, LAST
from .curve import write_curve
from .duplicates import keep_together
from .export import export_model
from .folder import FREE_SOURCE, SOURCE, listed, load_folder
from .manifest import SplitManifest, make_split, select
from .options import FOLDER, SPLIT, TrainOptions
from .own_card import card_template
from .scales import FACTORS, RandomScale, ThreeScales
from .schedule import Schedule
from .sources import Slice
from .start import Start, build_start
from .trainer import Trainer
from .validation import PatientValidation

__all__ = ["FOLDER", "TrainOptions", "TrainedModel", "train_own"]

logger = logging.getLogger(__name__)

MIXTURE = {SOURCE: 0.8, FREE_SOURCE: 0.2}
STEPS, LEARNING_RATE = 1000, 1e-4


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What came out: the card (its ``validation`` still to be measured) and the data behind it."""

    card: ModelCard
    training: list[Slice]
    validation: list[Slice]
    device: torch.device
    folder: Path


def train_own(
    options: TrainOptions,
    *,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] = logger.warning,
) -> TrainedModel:
    """Read and check the data, train (or go on where a run stopped), write the model.

    Parameters
    ----------
    progress
        Stages "read" (with "check" and "lungs" for volumes), then "train".
    notice
        Told in a sentence what the user should know.

    Raises
    ------
    RequestError
        The request is wrong, or the folder holds a run that differs.
    InputError
        The data cannot be used; told before training starts.
    CancelledError
        Stopping was asked for; the same request goes on from there.
    """
    cancel = cancel or Cancel()
    output = check_output_folder(options.output)
    _check_name(options.name, output)
    device = choose_device(options.device)
    start = build_start(
        options.start, encoder=options.encoder, size=options.size, seed=options.seed
    )
    given = None if options.split is None else SplitManifest.from_json(options.split)
    slices = _load(options, start, device, progress, cancel, notice)
    manifest = given or make_split(
        (s.patient for s in slices), validation_share=options.validation, seed=options.seed
    )
    training, validation = select(slices, manifest)
    for side, chosen in (("training", training), ("validation", validation)):
        if not any(s.mask.any() for s in chosen):
            raise InputError(
                f"No slice of the {side} patients shows a lesion: choose another --seed or "
                "--split, or add data."
            )
    schedule = _schedule(options, len(training), start.pretrained)
    folder = output / FOLDER
    if options.restart or not (folder / LAST).exists():
        manifest.to_json(folder / SPLIT)
    trainer = Trainer(
        start.network,
        schedule,
        make_batch=_batches(options, training),
        loss=refnet_batch_loss,
        validate=PatientValidation(
            validation, size=options.size, precision=schedule.precision, cancel=cancel
        ),
        folder=folder,
        freeze_encoder_norm=start.pretrained,
        device=device,
        progress=progress,
        cancel=cancel,
        record={
            "split": manifest.to_dict(),
            "data": _digest(slices),
            "start": start.story,
            "architecture": start.architecture,
            "size": options.size,
            "batch_size": options.slices_per_step,
            "scales": options.scales,
            "seed": options.seed,
        },
    )
    trainer.run(restart=options.restart)
    if not write_curve(trainer.log, folder / "learning_curve.png"):
        notice("The learning curve was not drawn, as matplotlib is not installed.")
    template = card_template(options, start, schedule, trainer, training, validation)
    card = export_model(folder / BEST, template, output)
    return TrainedModel(card, training, validation, device, output)


def _check_name(name: str, output: Path) -> None:
    """RequestError when the model would hide an installed one of the same name."""
    for card in list_models():
        if card.name == name and (card.folder or Path()).resolve() != output.resolve():
            raise RequestError(
                f"A model '{name}' is installed already (in {card.folder}): choose another --name."
            )


def _load(
    options: TrainOptions,
    start: Start,
    device: torch.device,
    progress: Progress,
    cancel: Cancel,
    notice: Callable[[str], None],
) -> list[Slice]:
    if options.images is None or options.masks is None:
        from .volumes import load_volumes

        return load_volumes(
            find_cases(options.ct, options.lesion, options.lung or None),
            device=device,
            spec=start.input,
            patient=options.patient,
            progress=progress,
            cancel=cancel,
            notice=notice,
        )
    slices = load_folder(
        options.images,
        options.masks,
        patient=options.patient,
        progress=progress,
        cancel=cancel,
        notice=notice,
    )
    slices, alike = keep_together(slices)
    if alike:
        pairs = listed([f"{one} and {other}" for one, other in alike])
        notice(f"Near-identical images count as one patient's: {pairs}.")
    return slices


def _schedule(options: TrainOptions, slices: int, pretrained: bool) -> Schedule:
    if options.schedule == "published":
        per_batch = len(FACTORS) if options.scales == "three" else 1
        return Schedule.published(
            slices, batch_size=options.slices_per_step, steps_per_batch=per_batch
        )
    steps = options.steps or STEPS
    try:
        return Schedule(
            steps=steps,
            learning_rate=options.learning_rate or LEARNING_RATE,
            # What has been learnt already moves less.
            encoder_factor=0.5 if pretrained else 1.0,
            warmup=min(100, steps // 10),
            validate_every=max(1, min(200, steps // 5)),
            save_every=max(1, min(100, steps // 5)),
            precision="auto",
        )
    except ValueError as error:
        raise RequestError(f"The schedule cannot be: {error}.") from error


def _batches(options: TrainOptions, training: Sequence[Slice]) -> Callable[[int], LesionBatch]:
    batches = LesionBatches(
        training,
        mixture=MIXTURE,
        batch_size=options.slices_per_step,
        sizes=(options.size,),
        seed=options.seed,
        sampling="epochs" if options.schedule == "published" else "mixture",
    )
    if options.scales == "three":
        return ThreeScales(batches)
    return RandomScale(batches, seed=options.seed) if options.scales == "one" else batches


def _digest(slices: Sequence[Slice]) -> str:
    """SHA-256 of all pixels and names, so that a run does not go on with other data."""
    digest = hashlib.sha256()
    for s in sorted(slices, key=lambda s: (s.patient, s.name)):
        digest.update(f"{s.patient}\n{s.name}\n{s.image.shape}\n".encode())
        digest.update(s.image.tobytes())
        digest.update(s.mask.tobytes())
    return digest.hexdigest()
