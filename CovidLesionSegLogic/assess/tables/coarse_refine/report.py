"""The report of a coarse-refine plan: from the results in its folder to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.ablation_table import ablation_section
from CovidLesionSegLogic.assess.tables.coarse_refine.census_tables import census_sections
from CovidLesionSegLogic.assess.tables.coarse_refine.gate_table import gate_section
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import Results, gather
from CovidLesionSegLogic.assess.tables.coarse_refine.header import header_lines
from CovidLesionSegLogic.assess.tables.coarse_refine.overlap_table import levers, table_4
from CovidLesionSegLogic.assess.tables.coarse_refine.pictures_section import pictures_section
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Plan
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section
from CovidLesionSegLogic.assess.tables.coarse_refine.severity_table import severity_section
from CovidLesionSegLogic.assess.tables.document import Heading, Lines
from CovidLesionSegLogic.assess.tables.files import opening, write_files

PROTOCOL = (
    "Dice = 2 |G ∩ P| / (|G| + |P|), IoU = |G ∩ P| / |G ∪ P|, pixel precision = |G ∩ P| / |P|, "
    "pixel recall = |G ∩ P| / |G| (equations 2 to 5), on each test image with outlined lesion, "
    "then the mean over images: the paper's way.",
    "Images are resized to the schedule's size, the probabilities back to the picture's own. A "
    "pixel gets the most probable class where its probability is above 0.5. Every test image is "
    "segmented, whatever the gate says of it. Evaluation is in float32 whatever the training was "
    "in.",
    "Images on which a lesion's class is not named count for any lesion only.",
    "Folds are by patient: no patient of a test part was trained on, neither by the segmentation "
    "nor by gate or classifier, which share the folds.",
    "Gate and classifier see all images, the segmentation those with outlines and those of "
    "patients without COVID-19.",
    "Intervals are 95 % percentile bootstrap intervals over the test patients; with one training "
    "of each run, chance in the training is not in them.",
)


def write_report(plan: Plan, output: Path, publish: Path | None = None) -> dict[str, Path]:
    """Write what the finished runs of ``plan`` in ``output`` say.

    ``output`` gets ``report.md``, ``report.html``, a CSV per table, one of every test image's
    figures (patients and images by running numbers), the figures and, in ``contains-data/``, the
    pictures of images. ``publish`` gets the same without ``report.html`` and without anything that
    shows an image of a patient.

    Returns
    -------
    dict
        What was written by name.

    Raises
    ------
    InputError
        A result is damaged.
    RequestError
        A folder cannot be written.
    """
    results = gather(plan, output)
    blocks = opening(plan.title, printed.PAPER, plan.notes, header_lines(results), results.left_out)
    csvs: dict[str, list[dict[str, Any]]] = {}
    for section in _sections(results, output):
        blocks += section.blocks
        csvs |= section.csvs
    if rows := _image_rows(results):
        csvs["images.csv"] = rows
    blocks += [Heading("How the figures are computed"), Lines(PROTOCOL)]
    blocks = [b for b in blocks if not isinstance(b, Lines) or b.texts]
    return write_files(blocks, csvs, plan.title, output, publish)


def _sections(results: Results, output: Path) -> list[Section]:
    return [
        *census_sections(results.census, results.plan.folds),
        table_4(results),
        severity_section(results),
        gate_section(results),
        ablation_section(results),
        levers(results),
        pictures_section(results, output),
    ]


def _image_rows(results: Results) -> list[dict[str, Any]]:
    """Every image's counts of every run; names of patients and files stay behind."""
    patients: dict[str, int] = {}
    images: dict[str, int] = {}
    names = [*results.plan.classes]
    rows = []
    for run, judged in results.found.items():
        for row in judged.images:
            line: dict[str, Any] = {
                "run": run,
                "patient": patients.setdefault(row["patient"], len(patients) + 1),
                "image": images.setdefault(row["image"], len(images) + 1),
                "severity": row["severity"],
                "pixels": row["pixels"],
                "lung": row["lung"],
            }
            *each, union = row["counts"]
            channels = zip(names, each, strict=True) if judged.run.classes == "each" else ()
            counted = dict(channels) | {"any lesion": union}
            for name in (*names, "any lesion"):
                three = counted.get(name, (None, None, None))
                for what, value in zip(("hits", "marked", "truth"), three, strict=True):
                    line[f"{name}: {what}"] = value
            rows.append(line)
    return rows
