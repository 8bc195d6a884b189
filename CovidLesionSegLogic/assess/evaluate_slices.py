"""Evaluate a lesion model on a folder of 8-bit slices by the published protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.curves import mean_curves, require_matplotlib, write_curves
from CovidLesionSegLogic.assess.pictures import MASK_RULE, check_pairs, find_pairs, read_pair
from CovidLesionSegLogic.assess.slices import (
    THRESHOLDS,
    SliceScores,
    dice_at,
    score_slice,
    to_grey,
)
from CovidLesionSegLogic.engine import (
    Cancel,
    Progress,
    choose_device,
    describe_device,
    no_progress,
    predict_slices,
)
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import DEFAULT_MODEL, ModelCard, get_card, load_network
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.pipeline import provenance
from CovidLesionSegLogic.quantify.export import write_json

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork

PROTOCOLS = ("refnet", "coarse-refine")
GREY = (0.0, 255.0)

DESCRIPTION = (
    "Grey 0..255 is taken as 0..1 (no HU window, no lung crop), resized to the model's input "
    "(bilinear, antialiased) and normalised as its card says. The probability map is resized to "
    "the mask's own size and rounded to 8 bits, as maps are stored where this protocol was "
    "published (Inf-Net, Ref-Net), then stretched to 0..1 by its own minimum and maximum and cut "
    "at 256 thresholds. Dice, sensitivity and specificity are means over the thresholds of an "
    "image, 0 at a threshold without a true positive, then over images; S-measure (alpha 0.5), "
    "E-measure (mean over the thresholds) and MAE are on the stretched map. dice_own_threshold is "
    "on the probabilities as they are, neither stretched nor rounded; images where mask and "
    "result are both empty are counted, not averaged in. Intervals: percentile bootstrap over "
    "images."
)


def evaluate_slices(
    model: str | None,
    images: Path,
    masks: Path,
    output: Path,
    *,
    protocol: str = "refnet",
    device: str = "auto",
    flips: bool | None = None,
    maps: Path | None = None,
    curves: Path | None = None,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Evaluate a model on pictures, write the figures to ``output`` (JSON) and return them.

    Everything is checked before the network runs; files appear whole or not at all.

    Parameters
    ----------
    model
        Name of an installed lesion model with one class; None: the default one.
    images, masks
        Folders of 8-bit grey pictures, paired by name without suffix.
    flips
        Whether each picture's mirror image is looked at too; None: as the model card says.
    maps
        Folder for the probability maps (not stretched) as 8-bit PNG at each mask's own size.
    curves
        Folder for precision-recall and F-measure curves as CSV and PNG.
    progress, cancel
        Stages "check" and "evaluate"; cancelling is heeded between images.

    Raises
    ------
    RequestError
        Unknown model, device or protocol; more than one class; outputs onto inputs.
    InputError
        A picture that cannot be used, by name.
    CancelledError
        Stopping was asked for.
    """
    cancel = cancel or Cancel()
    check_protocol(protocol)
    card = get_card(model or DEFAULT_MODEL, "lesion")
    if len(card.classes) != 1:
        raise RequestError(
            f"The protocol 'refnet' scores one class; the model '{card.name}' has "
            f"{len(card.classes)}: choose another model."
        )
    if flips is not None:
        card = replace(card, inference=replace(card.inference, flips=flips))
    chosen = choose_device(device)
    for folder in (maps, curves):
        _check_apart(folder, images, masks)
    if curves is not None:
        require_matplotlib()
    pairs = find_pairs(images, masks)

    def checked(done: int, total: int) -> None:
        cancel.check()
        progress("check", done, total)

    check_pairs(pairs, checked)
    network = load_network(card, chosen)
    threshold = card.classes[0].threshold
    scores: list[SliceScores] = []
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        map_folder = stack.enter_context(staged_folder(maps)) if maps else None
        curve_folder = stack.enter_context(staged_folder(curves)) if curves else None
        for done, pair in enumerate(pairs):
            cancel.check()
            progress("evaluate", done, len(pairs))
            image, truth = read_pair(pair)
            soft = soft_map(image, network, card, chosen, cancel=cancel)
            grey = to_grey(soft)
            score = replace(
                score_slice(grey / 255, truth, threshold=threshold),
                dice_at_threshold=dice_at(soft, truth, threshold),
            )
            scores.append(score)
            rows.append(slice_row(pair.name, score, soft, truth, threshold))
            if map_folder is not None:
                _write_png(grey, map_folder / f"{pair.name}.png")
        progress("evaluate", len(pairs), len(pairs))
        if curve_folder is not None:
            write_curves(scores, curve_folder, f"{card.name}, {len(pairs)} images")
        report = {
            "kind": "slices",
            "software": provenance.software_record(),
            "model": provenance.model_record(card),
            "device": describe_device(chosen),
            "created": provenance.now(),
            "inputs": {"images": str(images), "masks": str(masks)},
            "protocol": {
                "name": protocol,
                "description": DESCRIPTION,
                "mask_rule": MASK_RULE,
                "thresholds": THRESHOLDS,
                "own_threshold": threshold,
                "input_size": card.input.size,
                "inference": asdict(card.inference),
                "intervals": intervals.describe("image"),
            },
            **summarise(scores, rows),
            "images": rows,
        }
        write_json(report, output)
    return report


def check_protocol(protocol: str) -> None:
    """RequestError when ``protocol`` is unknown or needs what this version does not have."""
    if protocol == "coarse-refine":
        raise RequestError(
            "The protocol 'coarse-refine' cannot be run: the coarse-refine network is not part of "
            "this version; use --protocol refnet."
        )
    if protocol not in PROTOCOLS:
        raise RequestError(f"There is no protocol '{protocol}'; choose {' or '.join(PROTOCOLS)}.")


def soft_map(
    image: NDArray[np.uint8],
    network: SegmentationNetwork,
    card: ModelCard,
    device: torch.device,
    *,
    cancel: Cancel | None = None,
) -> NDArray[np.float32]:
    """Probability (H, W) of the model's first class for one 8-bit picture (H, W)."""
    as_grey = replace(card, input=replace(card.input, window=GREY, crop="none"))
    array = image.astype(np.float32)[None]
    one = next(
        predict_slices(array, None, network, as_grey, device=device, batch_size=1, cancel=cancel)
    )
    return one.probability[0]


def slice_row(
    name: str,
    score: SliceScores,
    soft: NDArray[np.float32],
    truth: NDArray[np.bool_],
    threshold: float,
) -> dict[str, Any]:
    """One image's figures, JSON-ready."""
    grey = to_grey(soft)
    return {
        "name": name,
        "width": truth.shape[1],
        "height": truth.shape[0],
        "truth_pixels": int(truth.sum()),
        "marked_pixels": int((soft >= threshold).sum()),
        "constant_map": bool(grey.max() == grey.min()),
        "dice_mean_256": score.mean_dice,
        "dice_own_threshold": score.dice_at_threshold,
        "dice_max": float(score.dice_curve.max()),
        "sensitivity": score.mean_sensitivity,
        "specificity": score.mean_specificity,
        "s_measure": score.s_measure,
        "e_measure_mean": score.mean_e_measure,
        "mae": score.mae,
    }


def summarise(scores: Sequence[SliceScores], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts and metrics with intervals over the images."""
    counts = intervals.resample_counts(len(scores))
    metrics: dict[str, dict[str, Any]] = {
        key: intervals.mean_interval([row[key] for row in rows], counts).to_dict()
        for key in (
            "dice_mean_256",
            "dice_own_threshold",
            "sensitivity",
            "specificity",
            "s_measure",
            "e_measure_mean",
            "mae",
        )
    }
    # Not the mean of the images' own maxima: one threshold for all of them.
    dice_max, best = intervals.max_of_mean_interval(
        np.stack([s.dice_curve for s in scores]), counts
    )
    metrics["dice_max"] = dice_max.to_dict() | {
        "stretched_threshold": float(mean_curves(scores)["threshold"][best])
    }
    return {
        "counts": {
            "images": len(rows),
            "empty_truth": sum(row["truth_pixels"] == 0 for row in rows),
            "empty_result": sum(row["marked_pixels"] == 0 for row in rows),
            "both_empty": sum(row["dice_own_threshold"] is None for row in rows),
            "constant_map": sum(row["constant_map"] for row in rows),
        },
        "metrics": metrics,
    }


def _check_apart(folder: Path | None, *inputs: Path) -> None:
    if folder is not None and folder.resolve() in [path.resolve() for path in inputs]:
        raise RequestError(
            f"Writing into {folder} would mix results with the inputs there: choose another folder."
        )


def _write_png(grey: NDArray[np.uint8], path: Path) -> None:
    from skimage import io

    io.imsave(path, grey, check_contrast=False)
