"""Figure 6 in the report: of phantoms as a picture, of patients as a file that stays behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from CovidLesionSegLogic.assess.tables.coarse_refine.gather import Results
from CovidLesionSegLogic.assess.tables.coarse_refine.overlays import draw_overlays
from CovidLesionSegLogic.assess.tables.coarse_refine.place import images_file, maps_file
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section, as_png
from CovidLesionSegLogic.assess.tables.document import Block, Heading, Lines, Picture
from CovidLesionSegLogic.assess.tables.result import WITH_IMAGES, read_arrays

FIGURE = "figure-6.png"
CHOICE = (
    "Test images of fold {fold}, evenly spread from the largest to the smallest lesion share; no "
    "result takes part in the choice."
)


def pictures_section(results: Results, output: Path) -> Section:
    """Overlays of the first fold in which all networks that were run are finished."""
    head = Heading("Figure 6: lesions found by each network")
    rows = [row for row in results.plan.tables["T4"] if row.run in results.found]
    missing = [row.label for row in results.plan.tables["T4"] if row.run not in results.found]
    remarks = [f"Not run: {', '.join(missing)}."] if missing else []
    shared = [set(results.found[row.run].folds) for row in rows]
    folds = sorted(set.intersection(*shared)) if shared else []
    if not folds:
        return Section((head, Lines(tuple(remarks or ("Not run.",)))))
    fold, blocks = folds[0], list[Block]([head])
    kept = images_file(output, fold)
    if importlib.util.find_spec("matplotlib") is None:
        remarks.append("The picture is left out: matplotlib is not installed.")
    elif not kept.exists():  # the folder may be deleted before results are shared
        remarks.append(f"The picture is left out: the images are no longer in {WITH_IMAGES}.")
    else:
        arrays = read_arrays(kept)
        images = {k[6:]: v for k, v in arrays.items() if k.startswith("image:")}
        columns = [("ground truth", {k[5:]: v for k, v in arrays.items() if k.startswith("mask:")})]
        for row in rows:
            job = Job(results.plan, results.plan.runs[row.run], fold)
            columns.append((row.label, read_arrays(maps_file(output, job))))
        # Runs of a plan that has changed since may have kept other images.
        images = {
            key: image
            for key, image in images.items()
            if all(key in maps and maps[key].shape == image.shape for _, maps in columns)
        }
        if not images:
            remarks.append("The picture is left out: the runs kept no image in common.")
            return Section((head, Lines(tuple(remarks))))
        names = results.plan.classes
        caption = CHOICE.format(fold=fold)
        if (results.census or {}).get("phantoms"):
            png = as_png(lambda path: draw_overlays(path, images, columns, names))
            blocks.append(Picture(FIGURE, png, f"{caption} The images are phantoms."))
        else:
            draw_overlays(output / WITH_IMAGES / FIGURE, images, columns, names)
            remarks.append(
                f"The picture is {WITH_IMAGES}/{FIGURE} in the output folder. {caption} It shows "
                "images of patients: it is not part of what is published, and must not be."
            )
    return Section((*blocks, Lines(tuple(remarks))) if remarks else tuple(blocks))
