"""A run on a fold, from its training to its result file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from CovidLesionSegLogic.assess.tables.build import build
from CovidLesionSegLogic.assess.tables.coarse_refine.data import Data, Image, Part, spread
from CovidLesionSegLogic.assess.tables.coarse_refine.place import Place, images_file, maps_file
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job
from CovidLesionSegLogic.assess.tables.coarse_refine.scoring import (
    classification_rows,
    score_segmentation,
)
from CovidLesionSegLogic.assess.tables.coarse_refine.training import (
    NETWORK,
    check_labels,
    labelled,
    train_baseline,
    train_segmentation,
)
from CovidLesionSegLogic.assess.tables.fit import (
    WEIGHTS,
    clear_run,
    clear_training,
    load_weights,
    run_record,
)
from CovidLesionSegLogic.assess.tables.pictures import choose_images
from CovidLesionSegLogic.assess.tables.result import (
    ENTRY,
    RESULT,
    WITH_IMAGES,
    changes,
    read_json,
    write_arrays,
    write_entry,
)
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.learn.classification import infection_probabilities
from CovidLesionSegLogic.learn.gate import train_gate
from CovidLesionSegLogic.learn.gate_features import gate_probabilities
from CovidLesionSegLogic.learn.precision import resolve_precision
from CovidLesionSegLogic.networks import parameter_count
from CovidLesionSegLogic.networks.classifier import SliceClassifier
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet
from CovidLesionSegLogic.quantify.export import write_json


@dataclass(frozen=True)
class RunTask:
    """A job as a task of :func:`~CovidLesionSegLogic.assess.tables.work.do_all`."""

    job: Job
    place: Place
    data: Data

    @property
    def name(self) -> str:
        """Name of its folder among the runs."""
        return self.job.folder

    @property
    def folder(self) -> Path:
        """Its own folder."""
        return self.place.folder(self.job)

    @property
    def optional(self) -> bool:
        """No table of the paper needs it."""
        return self.job.plan.is_extra(self.job.run.name)

    def files(self) -> dict[str, str]:
        """SHA-256 of everything it learns from, by role."""
        return self.data.files | self.place.starts.files(self.job.run)

    def missing(self) -> str:
        """Nothing is missing where it is finished."""
        return "" if self.finished() else self.place.starts.missing(self.job.run)

    def changed(self) -> list[str]:
        """Of the plan or of the given files."""
        then = read_json(self.folder / RESULT) or read_json(self.folder / ENTRY)
        return changes(then, self.job, self.files())

    def finished(self) -> bool:
        """Whether it has its result."""
        return read_json(self.folder / RESULT) is not None

    def clear(self) -> None:
        """Take an earlier run away, whatever it has left."""
        clear_run(self.folder)

    def perform(self, progress: Progress, cancel: Cancel) -> None:
        """Stages "train" (steps), "evaluate", "features" and "classify" (images).

        Raises
        ------
        CancelledError
            Stopping was asked for; the next call goes on.
        InputError
            The run cannot be done with these images or starts.
        """
        job, folder = self.job, self.folder
        write_entry(folder, job, self.files())
        training, validation, test = self.data.parts(job.fold)
        segments = job.run.kind == "segmentation"
        train = train_segmentation if segments else train_baseline
        if not (folder / WEIGHTS).exists():
            train(job, training, validation, self.place, progress=progress, cancel=cancel)
        judge = self._judge_segmentation if segments else self._judge_classifier
        figures = judge((training, validation, test), progress, cancel)
        device = self.place.device
        result = {
            **run_record(folder, device),
            "plan": job.plan.name,
            "run": job.run.name,
            "fold": job.fold,
            "counts": {
                name: part.counts()
                for name, part in zip(
                    ("training", "validation", "test"), (training, validation, test), strict=True
                )
            },
            "precision": resolve_precision(job.schedule.precision, device),
            **figures,
        }
        # Last, and at once: a run without this file is not finished.
        write_json(result, folder / RESULT)
        clear_training(folder)

    def _judge_segmentation(
        self, parts: tuple[Part, Part, Part], progress: Progress, cancel: Cancel
    ) -> dict[str, Any]:
        job, test = self.job, parts[2]
        network = build(job.run.built_for(len(self.data.classes)).network)
        network.load_state_dict(load_weights(self.folder, NETWORK))
        network.to(self.place.device).eval()
        parameters = parameter_count(network)
        images = images_to_test(test, job.plan.per_patient)
        keep = picture_keys(test, job.plan.pictures)
        keep_pictures(self.place.output, job.fold, test, keep)
        scores = score_segmentation(
            network,
            images,
            classes=job.run.classes,
            size=job.schedule.size,
            lungs=self.data.lungs,
            keep=keep,
            progress=_heeding("evaluate", progress, cancel),
        )
        write_arrays(maps_file(self.place.output, job), dict(scores.maps))
        found = {
            "parameters": parameters,
            "images": scores.rows,
            "testing": {"seconds": scores.seconds},
        }
        if job.run.gate:
            assert isinstance(network, CoarseRefineNet)  # the plan was checked
            found |= self._gate(network, parts, progress, cancel)
        return found

    def _gate(
        self,
        network: CoarseRefineNet,
        parts: tuple[Part, Part, Part],
        progress: Progress,
        cancel: Cancel,
    ) -> dict[str, Any]:
        job, most = self.job, self.job.plan.per_patient
        seen, held_out, test = (labelled(part, most) for part in parts)
        check_labels(job.fold, {"training": seen, "validation": held_out})
        trained = train_gate(
            network,
            seen,
            held_out,
            size=job.schedule.size,
            views=job.plan.gate_views,
            seed=job.plan.seed,
            progress=progress,
            cancel=cancel,
        )
        progress("classify", 0, len(test))
        probabilities = gate_probabilities(
            network, [s.image for s in test], size=job.schedule.size, cancel=cancel
        )
        return {
            "gate": {"penalty": trained.penalty, "validation": trained.figures},
            "slices": classification_rows(test, probabilities.tolist()),
        }

    def _judge_classifier(
        self, parts: tuple[Part, Part, Part], progress: Progress, cancel: Cancel
    ) -> dict[str, Any]:
        job = self.job
        network = SliceClassifier(**job.run.network)
        network.load_state_dict(load_weights(self.folder, NETWORK))
        network.to(self.place.device).eval()
        test = labelled(parts[2], job.plan.per_patient)
        progress("classify", 0, len(test))
        probabilities = infection_probabilities(
            network,
            [s.image for s in test],
            size=job.schedule.size,
            device=torch.device(self.place.device),
            cancel=cancel,
        )
        return {
            "parameters": parameter_count(network),
            "slices": classification_rows(test, probabilities.tolist()),
        }


def _heeding(stage: str, progress: Progress, cancel: Cancel) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        cancel.check()
        progress(stage, done, total)

    return told


def images_to_test(test: Part, most: int) -> list[Image]:
    """All with lesion, and of those without at most ``most`` of a patient.

    Of patients whose severity is known all: their areas are added up.
    """
    whole = {i.key for i in test.segmented if i.with_lesion or i.record.severity is not None}
    others = [image for image in test.segmented if image.key not in whole]
    kept = {i.key for i in spread(others, [image.patient for image in others], most)}
    return [i for i in test.segmented if i.key in whole | kept]


def picture_keys(test: Part, count: int) -> list[str]:
    """Keys of the images of Figure 6, by their lesion share alone."""
    masks = {image.key: image.pixels.mask for image in test.segmented if image.with_lesion}
    return choose_images(masks, count) if masks else []


def keep_pictures(output: Path, fold: int, test: Part, keys: Sequence[str]) -> None:
    """What Figure 6 needs where the data are not."""
    (output / WITH_IMAGES).mkdir(parents=True, exist_ok=True)
    chosen = [image.pixels for image in test.images if image.key in keys]
    arrays = {f"image:{s.name}": s.image for s in chosen}
    write_arrays(images_file(output, fold), arrays | {f"mask:{s.name}": s.mask for s in chosen})
