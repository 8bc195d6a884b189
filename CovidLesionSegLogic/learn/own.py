"""Train a lesion network on a user's own slices or volumes, from the request to a model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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

from .checkpoint import BEST, LAST
from .class_values import check_classes_there
from .curve import write_curve
from .duplicates import keep_together
from .export import export_model
from .folder import listed, load_folder
from .manifest import SplitManifest, make_split, select
from .options import COARSE_REFINE, FOLDER, SPLIT, TrainOptions
from .own_card import card_template
from .own_gate import check_gate_slices, export_with_gate
from .own_recipe import make_recipe, make_schedule
from .sources import Slice
from .start import Start, build_start
from .trainer import Trainer

__all__ = ["FOLDER", "TrainOptions", "TrainedModel", "train_own"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What came out: the card (its ``validation`` still to be measured) and the data behind it.

    ``gate`` holds the installed gate's probabilities of the validation slices (N,), if there is
    one; their masks hold 1 to n in the order of the card's classes, 0 and ``UNKNOWN_CLASS``.
    """

    card: ModelCard
    training: list[Slice]
    validation: list[Slice]
    device: torch.device
    folder: Path
    gate: NDArray[np.float64] | None = None


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
        Stages "read" (with "check" and "lungs" for volumes), then "train", with a gate "features".
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
    _check_name(options.model_name, output)
    device = choose_device(options.device)
    start = build_start(
        options.started_from,
        network=options.network,
        classes=[c.name for c in options.named_classes],
        encoder=options.encoder,
        size=options.size,
        seed=options.seed,
    )
    if start.note:
        notice(start.note)
    given = None if options.split is None else SplitManifest.from_json(options.split)
    slices = _load(options, start, device, progress, cancel, notice)
    manifest = given or make_split(
        (s.patient for s in slices), validation_share=options.validation, seed=options.seed
    )
    training, validation = select(slices, manifest)
    _check_sides(options, training, validation, notice)
    schedule = make_schedule(options, len(training), pretrained=start.pretrained)
    recipe = make_recipe(options, training, validation, precision=schedule.precision, cancel=cancel)
    folder = output / FOLDER
    if options.restart or not (folder / LAST).exists():
        manifest.to_json(folder / SPLIT)
    trainer = Trainer(
        start.network,
        schedule,
        make_batch=recipe.make_batch,
        loss=recipe.loss,
        validate=recipe.validate,
        folder=folder,
        freeze_encoder_norm=start.pretrained,
        device=device,
        progress=progress,
        cancel=cancel,
        record=_record(options, start, manifest, slices),
    )
    trainer.run(restart=options.restart)
    if not write_curve(trainer.log, folder / "learning_curve.png"):
        notice("The learning curve was not drawn, as matplotlib is not installed.")
    template = card_template(options, start, schedule, trainer, training, validation)
    if not options.gate:
        card = export_model(folder / BEST, template, output)
        return TrainedModel(card, training, validation, device, output)
    card, gate = export_with_gate(
        folder / BEST,
        template,
        output,
        training,
        validation,
        device=device,
        seed=options.seed,
        volumes=options.images is None,
        progress=progress,
        cancel=cancel,
    )
    return TrainedModel(card, training, validation, device, output, gate)


def _check_sides(
    options: TrainOptions,
    training: Sequence[Slice],
    validation: Sequence[Slice],
    notice: Callable[[str], None],
) -> None:
    """InputError where a side of the split lacks what is to be learnt."""
    for side, chosen in (("training", training), ("validation", validation)):
        if not any(s.mask.any() for s in chosen):
            raise InputError(
                f"No slice of the {side} patients shows a lesion: choose another --seed or "
                "--split, or add data."
            )
    if options.class_values is not None:
        unjudged = check_classes_there(options.named_classes, training, validation)
        if unjudged:
            notice(
                f"No slice of the validation patients shows {' or '.join(unjudged)}: how well "
                "that is found will not be known."
            )
    if options.gate:
        check_gate_slices(training, validation)


def _record(
    options: TrainOptions, start: Start, manifest: SplitManifest, slices: Sequence[Slice]
) -> dict[str, Any]:
    """What the run depends on; not the gate, which is trained when the run is over."""
    record = {
        "split": manifest.to_dict(),
        "data": _digest(slices),
        "start": start.story,
        "architecture": start.architecture,
        "size": options.size,
        "batch_size": options.slices_per_step,
        "scales": options.scale_rule,
        "seed": options.seed,
    }
    if options.network == COARSE_REFINE:
        record["classes"] = [[c.name, c.value] for c in options.named_classes]
    return record


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
            classes=options.class_values,
            patient=options.patient,
            progress=progress,
            cancel=cancel,
            notice=notice,
        )
    slices = load_folder(
        options.images,
        options.masks,
        classes=options.class_values,
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


def _digest(slices: Sequence[Slice]) -> str:
    """SHA-256 of all pixels and names, so that a run does not go on with other data."""
    digest = hashlib.sha256()
    for s in sorted(slices, key=lambda s: (s.patient, s.name)):
        digest.update(f"{s.patient}\n{s.name}\n{s.image.shape}\n".encode())
        digest.update(s.image.tobytes())
        digest.update(s.mask.tobytes())
    return digest.hexdigest()
