"""Evaluate a lesion model on a folder of 8-bit slices by the protocol of either paper."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.curves import mean_curves, require_matplotlib, write_curves
from CovidLesionSegLogic.assess.evaluate_classes import evaluate_classes
from CovidLesionSegLogic.assess.pictures import MASK_RULE, check_pairs, find_pairs, read_pair
from CovidLesionSegLogic.assess.slice_maps import class_maps, soft_map, write_png
from CovidLesionSegLogic.assess.slice_request import SliceRequest
from CovidLesionSegLogic.assess.slices import THRESHOLDS, SliceScores, score_slice, to_grey
from CovidLesionSegLogic.assess.volumes import dice as mask_dice
from CovidLesionSegLogic.engine import Cancel, Progress, choose_device, no_progress
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import DEFAULT_MODEL, get_card, load_fast_network
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.pipeline.labelling import label_slice
from CovidLesionSegLogic.quantify.export import write_json

__all__ = ["check_protocol", "evaluate_slices", "slice_row", "soft_map", "summarise"]

PROTOCOLS = ("refnet", "coarse-refine")

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
SEVERAL = (
    "The model has several classes: the map is the largest of their probabilities (any lesion), "
    "and what is marked reaches the threshold of at least one class."
)


def evaluate_slices(
    model: str | None,
    images: Path,
    masks: Path,
    output: Path,
    *,
    protocol: str = "refnet",
    patient: str | None = None,
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
        Name of an installed lesion model; None: the default one.
    images, masks
        Folders of 8-bit grey pictures, paired by name without suffix.
    protocol
        "refnet": the published protocol of Ref-Net and Inf-Net, for any lesion; "coarse-refine":
        hard masks of each class, see :mod:`~CovidLesionSegLogic.assess.evaluate_classes`.
    patient
        For "coarse-refine": a regular expression that finds the patient in a picture's name; None:
        each picture is a patient.
    flips
        Whether each picture's mirror image is looked at too; None: as the model card says.
    maps
        Folder for the probability maps (not stretched) as 8-bit PNG at each mask's own size; with
        "coarse-refine" and several classes a folder for each class in it.
    curves
        Folder for curves over the thresholds as CSV and PNG.
    progress, cancel
        Stages "check" and "evaluate"; cancelling is heeded between images.

    Raises
    ------
    RequestError
        Unknown model, device or protocol; outputs onto inputs.
    InputError
        A picture that cannot be used, by name.
    CancelledError
        Stopping was asked for.
    """
    check_protocol(protocol)
    if protocol == "refnet" and patient is not None:
        raise RequestError(
            "The protocol 'refnet' is over images, not patients: leave --patient out or use "
            "--protocol coarse-refine."
        )
    card = get_card(model or DEFAULT_MODEL, "lesion")
    if flips is not None:
        card = replace(card, inference=replace(card.inference, flips=flips))
    request = SliceRequest(
        card=card,
        device=choose_device(device),
        images=images,
        masks=masks,
        maps=maps,
        curves=curves,
        progress=progress,
        cancel=cancel or Cancel(),
    )
    if curves is not None:
        require_matplotlib()
    if protocol == "coarse-refine":
        report = evaluate_classes(request, output, patient=patient)
    else:
        report = _evaluate_refnet(request, output)
    return report


def _evaluate_refnet(request: SliceRequest, output: Path) -> dict[str, Any]:
    """The published protocol of Ref-Net; of several classes the largest probability is judged."""
    card, cancel = request.card, request.cancel
    pairs = find_pairs(request.images, request.masks)
    check_pairs(pairs, request.checked)
    network = load_fast_network(card, request.device)
    several = len(card.classes) > 1
    scores: list[SliceScores] = []
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        map_folder = stack.enter_context(staged_folder(request.maps)) if request.maps else None
        curve_folder = (
            stack.enter_context(staged_folder(request.curves)) if request.curves else None
        )
        for done, pair in enumerate(pairs):
            cancel.check()
            request.progress("evaluate", done, len(pairs))
            image, truth = read_pair(pair)
            maps = class_maps(image, network, card, request.device, cancel=cancel)
            hard = label_slice(maps, card.classes, None) != 0
            grey = to_grey(maps.max(axis=0))
            score = replace(
                score_slice(grey / 255, truth), dice_at_threshold=mask_dice(hard, truth)
            )
            scores.append(score)
            rows.append(slice_row(pair.name, score, grey, hard, truth))
            if map_folder is not None:
                write_png(grey, map_folder / f"{pair.name}.png")
        request.progress("evaluate", len(pairs), len(pairs))
        if curve_folder is not None:
            write_curves(scores, curve_folder, f"{card.name}, {len(pairs)} images")
        own = {c.name: c.threshold for c in card.classes}
        report = {
            **request.head(),
            "protocol": {
                "name": "refnet",
                "description": f"{DESCRIPTION} {SEVERAL}" if several else DESCRIPTION,
                "mask_rule": MASK_RULE,
                "thresholds": THRESHOLDS,
                "own_threshold": own if several else card.classes[0].threshold,
                "input_size": card.input.size,
                "inference": asdict(card.inference),
                "intervals": intervals.describe("image"),
            },
            **summarise(scores, rows),
            "images": rows,
        }
        if several:
            report["notice"] = SEVERAL
        write_json(report, output)
    return report


def check_protocol(protocol: str) -> None:
    """RequestError when ``protocol`` is unknown."""
    if protocol not in PROTOCOLS:
        raise RequestError(f"There is no protocol '{protocol}'; choose {' or '.join(PROTOCOLS)}.")


def slice_row(
    name: str,
    score: SliceScores,
    grey: NDArray[np.uint8],
    hard: NDArray[np.bool_],
    truth: NDArray[np.bool_],
) -> dict[str, Any]:
    """One image's figures, JSON-ready, from its map in grey and what the thresholds mark."""
    return {
        "name": name,
        "width": truth.shape[1],
        "height": truth.shape[0],
        "truth_pixels": int(truth.sum()),
        "marked_pixels": int(hard.sum()),
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
