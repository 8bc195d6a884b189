"""The coarse-refine paper's protocol for slices: overlap of hard masks, for each lesion class."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.class_curves import ClassCurves, write_class_curves
from CovidLesionSegLogic.assess.class_masks import ClassTruth, find_class_masks
from CovidLesionSegLogic.assess.overlap import Overlap
from CovidLesionSegLogic.assess.slice_maps import ANY_LESION, class_maps, folder_names, write_png
from CovidLesionSegLogic.assess.slice_request import SliceRequest
from CovidLesionSegLogic.assess.slices import to_grey
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.learn.folder import listed, patient_rule
from CovidLesionSegLogic.models import LesionClass, load_fast_network
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.pipeline.labelling import label_slice
from CovidLesionSegLogic.quantify.export import write_json

PUBLISHED_THRESHOLD = 0.5
DESCRIPTION = (
    "Grey 0..255 is taken as 0..1 (no HU window, no lung crop), resized to the model's input "
    "(bilinear, antialiased) and normalised as its card says; the probability maps are resized to "
    "the mask's own size. A slice classifier is not asked: every slice is segmented. 'labels' is "
    "what the product marks: each pixel gets the most probable class among those that reach the "
    "card's threshold; 'any lesion' is the union of the classes. 'maps_at_0.5' judges each class's "
    "own map at 0.5, whatever the other classes say. Dice, IoU, pixel precision and pixel recall "
    "(equations 2 to 5 of the coarse-refine paper): per_image is the mean over images (the "
    "paper's way), pooled is over all pixels together, per_patient pools each patient's pixels and "
    "takes the mean over patients. Images where truth and result are both empty are counted, not "
    "averaged in; with an empty truth and a result Dice, IoU and precision are 0; recall needs a "
    "truth and precision a result. Intervals: percentile bootstrap over patients, n patients."
)


class _Judges:
    """Overlap of every class, and of any lesion where there are several; truth may lack classes."""

    def __init__(self, classes: Sequence[LesionClass]) -> None:
        several = len(classes) > 1
        self.names = [*(c.name for c in classes), *([ANY_LESION] if several else [])]
        self._several = several
        self._labels = {name: Overlap() for name in self.names}
        self._maps = {name: Overlap() for name in self.names}

    def truths(self, truth: ClassTruth) -> dict[str, NDArray[np.bool_]]:
        """The masks that there are, by name."""
        masks = dict(zip(self.names, truth.classes or (), strict=False))
        return masks | ({ANY_LESION: truth.any_lesion} if self._several else {})

    def stack(self, planes: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The planes (classes, H, W) by name, and their maximum."""
        found = dict(zip(self.names, planes, strict=False))
        return found | ({ANY_LESION: planes.max(axis=0)} if self._several else {})

    def update(
        self,
        marked: NDArray[np.bool_],
        maps: NDArray[np.float32],
        truth: ClassTruth,
        patient: str,
    ) -> dict[str, Any]:
        """Judge one image, (classes, H, W) each; its figures by class, JSON-ready."""
        hard, soft = self.stack(marked), self.stack(maps)
        row = {}
        for name, mask in self.truths(truth).items():
            labels = self._labels[name].update(hard[name], mask, patient=patient)
            cut = self._maps[name].update(soft[name] >= PUBLISHED_THRESHOLD, mask, patient=patient)
            row[name] = labels.to_dict() | {"dice_map_at_0.5": cut.dice}
        return row

    def compute(self, classes: Sequence[LesionClass]) -> list[dict[str, Any]]:
        """Figures of every class, JSON-ready."""
        known = {c.name: {"label": c.label, "threshold": c.threshold} for c in classes}
        return [
            {
                "name": name,
                **known.get(name, {"label": None, "threshold": None}),
                "labels": self._labels[name].compute().to_dict(),
                "maps_at_0.5": self._maps[name].compute().to_dict(),
            }
            for name in self.names
        ]


def evaluate_classes(
    request: SliceRequest, output: Path, *, patient: str | None = None
) -> dict[str, Any]:
    """Judge a model with any number of classes, write the figures to ``output``, return them.

    Parameters
    ----------
    patient
        Regular expression that finds the patient in a picture's name; None: each is a patient.

    Raises
    ------
    RequestError
        ``patient`` is no regular expression, or a folder is not there.
    InputError
        A picture that cannot be used, by name.
    CancelledError
        Stopping was asked for.
    """
    card, classes, cancel = request.card, request.card.classes, request.cancel
    rule = patient_rule(patient)
    masks = find_class_masks(request.images, request.masks, classes)
    pairs = masks.pairs
    patients = _patients([pair.name for pair in pairs], rule)
    for done, pair in enumerate(pairs):
        request.checked(done, len(pairs))
        masks.read(pair)
    request.checked(len(pairs), len(pairs))
    network = load_fast_network(card, request.device)
    judges = _Judges(classes)
    curves = ClassCurves(judges.names)
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        map_folders = _map_folders(stack, request.maps, classes)
        curve_folder = (
            stack.enter_context(staged_folder(request.curves)) if request.curves else None
        )
        for done, (pair, who) in enumerate(zip(pairs, patients, strict=True)):
            cancel.check()
            request.progress("evaluate", done, len(pairs))
            image, truth = masks.read(pair)
            maps = class_maps(image, network, card, request.device, cancel=cancel)
            labels = label_slice(maps, classes, None)
            marked = np.stack([labels == c.label for c in classes])
            rows.append(
                {
                    "name": pair.name,
                    "patient": who,
                    "width": image.shape[1],
                    "height": image.shape[0],
                    "classes_known": truth.classes is not None,
                    "classes": judges.update(marked, maps, truth, who),
                }
            )
            grey = to_grey(maps)
            for plane, folder in zip(grey, map_folders, strict=False):
                write_png(plane, folder / f"{pair.name}.png")
            if curve_folder is not None:
                planes = judges.stack(grey)
                for name, mask in judges.truths(truth).items():
                    curves.update(name, planes[name], mask)
        request.progress("evaluate", len(pairs), len(pairs))
        if curve_folder is not None:
            write_class_curves(curves, curve_folder, f"{card.name}, {len(pairs)} images")
        report = {
            **request.head(patient=patient),
            "protocol": {
                "name": "coarse-refine",
                "description": DESCRIPTION,
                "mask_rule": masks.rule,
                "mask_folders_not_judged": list(masks.others),
                "input_size": card.input.size,
                "inference": asdict(card.inference),
                "intervals": intervals.describe("image" if patient is None else "patient"),
            },
            "counts": {
                "images": len(rows),
                "patients": len(set(patients)),
                "classes_unknown": sum(not row["classes_known"] for row in rows),
            },
            "classes": judges.compute(classes),
            "images": rows,
        }
        write_json(report, output)
    return report


def _patients(names: Sequence[str], rule: Callable[[str], str | None]) -> list[str]:
    found = [rule(name) for name in names]
    without = [name for name, who in zip(names, found, strict=True) if who is None]
    if without:
        raise InputError(f"--patient matches nothing in {listed(without)}: correct it.")
    return [who for who in found if who is not None]


def _map_folders(
    stack: contextlib.ExitStack, maps: Path | None, classes: Sequence[LesionClass]
) -> list[Path]:
    """Folders that become those of the classes on success; none where no maps are wanted."""
    if maps is None:
        return []
    if len(classes) == 1:
        return [stack.enter_context(staged_folder(maps))]
    return [stack.enter_context(staged_folder(maps / name)) for name in folder_names(classes)]
