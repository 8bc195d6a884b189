"""The report of a plan: from the results in its folder to files, or to their publishable part."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess.curves import BETA_SQUARED, comparison_png, comparison_rows
from CovidLesionSegLogic.assess.tables.cells import csv_rows, figures_grid, ours_grid
from CovidLesionSegLogic.assess.tables.document import Block, Heading, Lines, Picture
from CovidLesionSegLogic.assess.tables.files import opening, write_files
from CovidLesionSegLogic.assess.tables.header import header_lines
from CovidLesionSegLogic.assess.tables.metrics import METRICS
from CovidLesionSegLogic.assess.tables.pictures import choose_images, draw_grid
from CovidLesionSegLogic.assess.tables.plan import Figure, Job, Plan, Table
from CovidLesionSegLogic.assess.tables.ranks import difference_sentence, order_of, order_sentence
from CovidLesionSegLogic.assess.tables.result import WITH_IMAGES, read_arrays
from CovidLesionSegLogic.assess.tables.runner import TEST_IMAGES
from CovidLesionSegLogic.assess.tables.summary import PLAIN, Results, gather


def write_report(plan: Plan, output: Path, publish: Path | None = None) -> dict[str, Path]:
    """Write what the finished runs of ``plan`` in ``output`` say.

    ``output`` gets ``report.md``, ``report.html``, a CSV per table and one of every image's
    figures, the curves, and, in ``contains-data/``, the pictures of test images. ``publish`` gets
    the same without ``report.html`` and without anything that shows an image.

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
    blocks, csvs = _blocks(results, output)
    return write_files(blocks, csvs, plan.title, output, publish)


def _blocks(results: Results, output: Path) -> tuple[list[Block], dict[str, list[dict[str, Any]]]]:
    plan = results.plan
    blocks = opening(plan.title, plan.paper, plan.notes, header_lines(results), results.left_out)
    csvs: dict[str, list[dict[str, Any]]] = {}
    for table in plan.tables.values():
        blocks += _table_blocks(table, results)
        csvs[f"{table.id}.csv"] = csv_rows(table, results)
    for figure in plan.figures.values():
        more, rows = _figure_blocks(figure, results, output)
        blocks += more
        if rows:
            csvs[f"{figure.id}.csv"] = rows
    images = _image_rows(results)
    if images:
        csvs["images.csv"] = images
    meanings = tuple(f"{m.short}: {m.meaning}." for m in METRICS.values())
    blocks += [Heading("How the figures are computed"), Lines((*meanings, PROTOCOL))]
    return blocks, csvs


PROTOCOL = (
    "Test images are resized to the schedule's size, the map back to the mask's own size, rounded "
    "to 8 bits, stretched to 0..1 and cut at 256 thresholds; evaluation is in float32 whatever the "
    "training was in."
)


def _table_blocks(table: Table, results: Results) -> list[Block]:
    sentences = []
    if any(row.paper for row in table.rows):
        order = order_of(table, results)
        sentences.append(order_sentence(order, sum(bool(row.paper) for row in table.rows)))
    if said := difference_sentence(table, results):
        sentences.append(said)
    blocks: list[Block] = [
        Heading(table.title),
        figures_grid(table, results),
        ours_grid(table, results),
    ]
    if sentences:
        blocks.append(Lines(tuple(sentences), listed=False))
    if table.footnotes:
        blocks.append(Lines(table.footnotes))
    return blocks


def _figure_blocks(
    figure: Figure, results: Results, output: Path
) -> tuple[list[Block], list[dict[str, Any]]]:
    series = [(label, run) for label, run in figure.series if (run, PLAIN) in results.found]
    head = Heading(figure.title)
    missing = [label for label, run in figure.series if (run, PLAIN) not in results.found]
    remarks: tuple[str, ...] = (f"Not run: {', '.join(missing)}.",) if missing else ()
    if not series:
        return [head, Lines(remarks)], []
    drawable = importlib.util.find_spec("matplotlib") is not None
    if not drawable:
        remarks += ("The picture is left out: matplotlib is not installed.",)
    if figure.kind == "pictures":
        if drawable:
            remarks += _draw_images(figure, series, results, output)
        return [head, Lines(remarks)], []
    curves = {label: results.found[run, PLAIN].curves for label, run in series}
    blocks: list[Block] = [head]
    if drawable:
        betas = " and ".join(f"{b:g}" for b in BETA_SQUARED)
        caption = (
            "Precision over recall, and F-measure over the threshold, each the mean over the test "
            f"images at 256 thresholds of the stretched map; β² = {betas} (at 1 it is Dice)."
        )
        blocks.append(Picture(f"{figure.id}.png", comparison_png(curves), caption))
    if remarks:
        blocks.append(Lines(remarks))
    return blocks, comparison_rows(curves)


def _draw_images(
    figure: Figure, series: Sequence[tuple[str, str]], results: Results, output: Path
) -> tuple[str, ...]:
    folder = output / WITH_IMAGES
    if not (folder / TEST_IMAGES).exists():  # the folder may be deleted before results are shared
        return (f"The picture is left out: the images are no longer in {WITH_IMAGES}.",)
    kept = read_arrays(folder / TEST_IMAGES)
    images = {k[6:]: v for k, v in kept.items() if k.startswith("image:")}
    masks = {k[5:]: v for k, v in kept.items() if k.startswith("mask:")}
    maps = []
    for label, run in series:
        seed = results.found[run, PLAIN].results[0]["seed"]
        job = Job(results.plan, results.plan.runs[run], seed)
        maps.append((label, read_arrays(folder / f"{job.folder}-{PLAIN}.npz")))
    names = choose_images(masks, figure.images)
    draw_grid(folder / f"{figure.id}.png", images, masks, maps, names)
    return (
        f"The picture ({len(names)} test images from the largest to the smallest lesion share, "
        f"outlines at 0.5) is {WITH_IMAGES}/{figure.id}.png in the output folder. It shows images "
        "of patients: it is not part of what is published, and must not be.",
    )


def _image_rows(results: Results) -> list[dict[str, Any]]:
    """Every image's figures of every run, so that others can compute their own statistics."""
    return [
        {"run": run, "evaluation": key, "seed": result["seed"], **row}
        for (run, key), judged in results.found.items()
        for result in judged.results
        for row in result["evaluations"][key]["images"]
    ]
