"""The coarse-refine tables from made-up results and small tables of images; nothing is trained."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from class_table_plans import small_plan, write_table
from skimage import io

from CovidLesionSegLogic.assess.tables.coarse_refine.data import load_data, spread, write_census
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import ANY, gather
from CovidLesionSegLogic.assess.tables.coarse_refine.lungs import lung_areas
from CovidLesionSegLogic.assess.tables.coarse_refine.overlap_table import lesions_of
from CovidLesionSegLogic.assess.tables.coarse_refine.overlays import class_colors, overlay
from CovidLesionSegLogic.assess.tables.coarse_refine.place import run_folder
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job
from CovidLesionSegLogic.assess.tables.coarse_refine.read_plan import find_plan, parse_plan
from CovidLesionSegLogic.assess.tables.coarse_refine.report import write_report
from CovidLesionSegLogic.assess.tables.coarse_refine.scoring import label_map
from CovidLesionSegLogic.assess.tables.coarse_refine.severity_table import severity_figures
from CovidLesionSegLogic.assess.tables.coarse_refine.tasks import images_to_test
from CovidLesionSegLogic.assess.tables.coarse_refine.training import to_schedule
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.quantify.export import write_json


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture
def plan():
    return parse_plan(small_plan())


def image_row(number, counts, *, patient=None, severity="mild", lung=1000, known=True):
    """``counts``: (hits, marked, truth) of two classes; any lesion is their sum."""
    union = [sum(column) for column in zip(*counts, strict=True)]
    return {
        "image": f"images/secret_{number}.png",
        "patient": patient or f"Mrs Jones {number}",
        "severity": severity,
        "covid": True,
        "known": known,
        "pixels": 4096,
        "lung": lung,
        "counts": [*map(list, counts), union],
    }


def put_result(output, plan, run, *, images=(), slices=(), fold=1, steps=2):
    job = Job(plan, plan.runs[run], fold)
    entry = job.entry()
    part = {"images": 6, "patients": 4, "with_lesion": 4}
    result = {
        "entry": entry,
        "files": {},
        "run": run,
        "fold": fold,
        "counts": dict.fromkeys(("training", "validation", "test"), part),
        "training": {"seconds": 12.5, "timed_steps": steps, "sessions": 1, "steps": steps},
        "hardware": {"processor": "Made-up CPU", "cores": 2, "threads": 1},
        "device": "cpu (1 threads)",
        "precision": "float32",
        "software": {"name": "CovidLesionSeg", "version": "9.9", "torch": "2"},
        "parameters": 1_500_000,
        "images": list(images),
        "slices": list(slices),
    }
    write_json(result, run_folder(output, job) / "result.json")


@pytest.fixture
def output(tmp_path, plan, table):
    """Two segmentations and a classifier on data of two classes."""
    out = tmp_path / "out"
    data = load_data(table, plan.classes, out)
    data = replace(data, lungs=lung_areas(table.parent / "lung_areas.csv", data.images))
    write_census(data, out, phantoms=False)
    plan = plan.changed(classes=data.classes)
    perfect = [
        image_row(1, [(10, 10, 10), (5, 5, 5)]),
        image_row(2, [(20, 20, 20), (0, 0, 0)], severity="moderate"),
        image_row(3, [(40, 40, 40), (9, 9, 9)], severity="severe"),
    ]
    half = [
        image_row(1, [(5, 10, 10), (5, 5, 5)]),
        image_row(2, [(10, 20, 20), (0, 3, 0)], severity="moderate"),
        image_row(3, [(20, 40, 40), (9, 9, 9)], severity="severe"),
        image_row(4, [(0, 41, 0), (0, 0, 0)], severity=None),
    ]
    slices = [
        {"image": str(i), "patient": f"p{i}", "infected": i < 3, "probability": p}
        for i, p in enumerate((0.9, 0.8, 0.3, 0.2, 0.7))
    ]
    put_result(out, plan, "ours", images=perfect, slices=slices)
    put_result(out, plan, "unet", images=half)
    put_result(out, plan, "plain", images=[], slices=[])
    return out


def rows_of(path):
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_overlap_is_of_the_counts_in_the_papers_way_and_pooled(plan, output):
    found = gather(plan, output).found
    ours, unet = found["ours"], found["unet"]
    assert ours.overlap(0).per_image["dice"].value == 1
    figures = unet.overlap(0)
    assert figures.per_image["dice"].value == pytest.approx(0.5)
    assert figures.counts["images"] == 3  # the one without lesion is judged apart
    # Marked without truth counts 0, as an image of its own; the other two are perfect.
    assert unet.overlap(1).per_image["dice"].value == pytest.approx(2 / 3)
    assert unet.overlap(1).counts["empty_truth"] == 1
    # Pooled: 14 hits, 17 marked, 14 true.
    assert unet.overlap(1).pooled["dice"].value == pytest.approx(28 / 31)
    assert unet.false_marks() == (1, 1, pytest.approx(41 / 4096))


def test_the_gain_is_paired_by_image(plan, output):
    found = gather(plan, output).found
    gain = found["ours"].gain(found["unet"])
    dice = [1 - 20 / 30, 1 - 20 / 43, 1 - 58 / 98]
    assert gain.value == pytest.approx(np.mean(dice))
    assert gain.low > 0
    assert found["ours"].gain(found["plain"]) is None  # no images in common


def test_classes_that_are_not_known_count_for_any_lesion_only(plan, tmp_path):
    rows = [image_row(1, [(1, 1, 1), (0, 0, 0)], known=False), image_row(2, [(1, 2, 2), (0, 0, 0)])]
    put_result(tmp_path, plan, "ours", images=rows)
    ours = gather(plan, tmp_path).found["ours"]
    assert ours.overlap(0).counts["images"] == 1
    assert ours.overlap(ANY).counts["images"] == 2


def test_severity_ratios_are_of_patients_and_never_above_one(plan, tmp_path):
    rows = [
        image_row(1, [(1, 10, 20), (0, 0, 0)], patient="a", severity="mild", lung=100),
        image_row(2, [(1, 30, 20), (0, 0, 0)], patient="a", severity="mild", lung=300),
        image_row(3, [(1, 60, 90), (0, 60, 30)], patient="b", severity="severe", lung=100),
        image_row(4, [(1, 1, 1), (0, 0, 0)], patient="c", severity=None),
        image_row(5, [(1, 1, 1), (0, 0, 0)], patient="d", severity="mild", lung=None),
    ]
    put_result(tmp_path, plan, "ours", images=rows)
    figures = severity_figures(gather(plan, tmp_path).found["ours"], ("x", "y"))
    assert figures.ratios["x"]["truth"]["mild"] == [40 / 400]
    assert figures.ratios["x"]["result"]["mild"] == [40 / 400]
    assert figures.ratios["x"]["truth"]["severe"] == [90 / 120]
    assert figures.ratios["y"]["result"]["severe"] == [60 / 120]
    assert figures.ratios["x"]["truth"]["moderate"] == []


def test_the_report_quotes_the_paper_and_says_what_is_missing(plan, output, tmp_path):
    published = tmp_path / "published"
    write_report(plan, output, published)
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "3 of 5 runs of the plan 'small' are finished (fold 1 of 5)" in text
    assert "2 optimiser steps of 2 images of 64 pixels" in text
    assert "paper's up to 3,012,000" in text
    assert "no such lesion in these data<br>paper 0.833" in text  # fibrosis, U-Net
    assert "1.000 (1.000 to 1.000)<br>paper 0.860" in text  # ground-glass opacity, ours
    assert "<br>paper 892" in text  # as printed
    assert "0.892 must be meant" in text
    assert "not run<br>paper 0.875" in text  # the classifier was not
    assert "paper 0.308" in text
    assert "U-Net marked 1 of 1" in text
    assert "| total | 10<br>paper 226 | 20<br>paper 1060 | 20<br>paper 3103" in text
    assert "**Ours is shorter" in text
    assert "contains-data" in text  # where the picture would be
    for row in rows_of(output / "T7.csv"):
        assert row["dice"] == ""
    names = {path.name for path in published.iterdir()}
    tables = {f"T{n}.csv" for n in range(1, 8)}
    assert names == tables | {
        *("report.md", "images.csv", "levers.csv", "figure-4.csv", "figure-4.png", "figure-5.png")
    }
    everything = "".join(
        path.read_text(encoding="utf-8-sig")
        for path in published.iterdir()
        if path.suffix in (".md", ".csv")
    )
    for word in ("Jones", "secret", str(tmp_path), "p00"):
        assert word not in everything
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "Jones" not in html


def test_both_conventions_and_both_levels_stand_in_table_6(plan, output):
    write_report(plan, output)
    rows = {(r["level"], r["positive"]): r for r in rows_of(output / "T6.csv")}
    assert len(rows) == 4
    covid, other = rows["patient", "COVID-19"], rows["patient", "non-COVID"]
    # Infected: 0.9, 0.8 found, 0.3 missed; not infected: 0.2 right, 0.7 by mistake.
    assert float(covid["recall"]) == pytest.approx(2 / 3)
    assert float(other["recall"]) == pytest.approx(1 / 2)
    assert covid["accuracy"] == other["accuracy"]
    assert [covid[k] for k in ("tn", "fp", "fn", "tp")] == ["1", "1", "1", "2"]


def test_without_severities_or_lungs_table_5_says_so(plan, tmp_path):
    table = write_table(tmp_path / "data", severities=False, lungs=False)
    data = load_data(table, plan.classes, tmp_path / "out")
    write_census(data, tmp_path / "out", phantoms=True)
    put_result(
        tmp_path / "out",
        plan.changed(classes=data.classes),
        "ours",
        images=[image_row(1, [(1, 1, 1), (0, 0, 0)], severity=None, lung=None)],
    )
    write_report(plan, tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "no severities and no lung areas in these data<br>paper 3.1e-4" in text
    assert "**The images are phantoms" in text
    assert not (tmp_path / "out" / "figure-4.png").exists()


def test_an_empty_folder_gives_an_empty_report(plan, tmp_path):
    write_report(plan, tmp_path / "new")
    text = (tmp_path / "new" / "report.md").read_text(encoding="utf-8")
    assert "0 of 5 runs" in text
    assert "all cells of ours are empty" in text
    assert "The data have not been read yet" in text
    assert "not run<br>paper 0.901" in text


def test_results_of_another_entry_are_left_out_but_other_lengths_are_told(plan, output):
    changed = plan.changed(steps=7, size=96)
    assert set(gather(changed, output).found) == {"ours", "unet", "plain"}
    data = small_plan()
    data["runs"]["unet"]["loss"] = ["bce", "iou"]
    found = gather(parse_plan(data), output)
    assert "unet" not in found.found
    assert found.left_out == ["unet-fold1: loss changed since it was run"]


def test_folds_are_put_together(plan, output):
    plan = plan.changed(classes=("ground-glass opacity", "consolidation"))
    put_result(output, plan, "ours", images=[image_row(9, [(0, 5, 5), (0, 0, 0)])], fold=3)
    ours = gather(plan, output).found["ours"]
    assert ours.folds == [1, 3]
    assert ours.overlap(0).per_image["dice"].value == pytest.approx(3 / 4)
    put_result(output, plan, "ours", images=[], fold=2)
    changed = plan.changed(steps=9)
    put_result(output, changed, "ours", images=[], fold=3, steps=9)
    found = gather(plan, output)
    assert "ours" not in found.found
    assert found.left_out == ["ours: its folds were trained differently"]


def test_the_data_keep_their_folds_and_their_classes(table, plan, tmp_path):
    data = load_data(table, plan.classes, tmp_path)
    assert data.classes == ("ground-glass opacity", "consolidation")
    again = load_data(table, plan.classes, tmp_path, seed=5)
    assert again.folds == data.folds
    training, validation, test = data.parts(1)
    sides = [{i.patient for i in part.images} for part in (training, validation, test)]
    assert not sides[0] & sides[2]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == 20
    other = tmp_path / "other.json"
    load_data(table, plan.classes, tmp_path / "second", seed=5).folds.to_json(other)
    with pytest.raises(RequestError, match="choose another output folder"):
        load_data(table, plan.classes, tmp_path, folds=other)


def test_more_classes_than_names_are_refused(tmp_path):
    table = write_table(tmp_path / "data")
    path = tmp_path / "data" / "masks" / "00_0.png"
    io.imsave(path, 2 * io.imread(path), check_contrast=False)
    with pytest.raises(InputError, match="marks the class 4, but there are 3"):
        load_data(table, ("a", "b", "c"), tmp_path / "out")


def test_one_class_takes_any_lesion(table, tmp_path):
    data = load_data(table, ("infection",), tmp_path)
    assert data.classes == ("infection",)
    assert max(int(i.pixels.mask.max()) for i in data.images) == 1


def test_a_table_without_lesion_is_refused(tmp_path):
    table = write_table(tmp_path / "data")
    for path in (tmp_path / "data" / "masks").iterdir():
        io.imsave(path, np.zeros((64, 64), np.uint8), check_contrast=False)
    with pytest.raises(InputError, match="no image with outlined lesion"):
        load_data(table, ("x",), tmp_path / "out")


def test_a_slice_is_infected_where_it_shows_lesion_or_nobody_looked(table, plan, tmp_path):
    data = load_data(table, plan.classes, tmp_path)
    covid = next(i for i in data.images if i.record.positive)
    assert covid.infected
    assert covid.labelled().lesion_area == np.count_nonzero(covid.pixels.mask)
    free = replace(covid, pixels=replace(covid.pixels, source="free"))
    assert not free.infected  # somebody looked and found none
    unseen = replace(free, record=replace(free.record, masks={}))
    assert unseen.infected
    assert unseen.labelled().lesion_area is None
    healthy = next(i for i in data.images if not i.record.positive)
    assert not healthy.infected


def test_thinning_spreads_and_keeps_all_of_known_severity(table, plan, tmp_path):
    assert spread("abcdefg", "1111122", 2) == list("adfg")
    assert spread("abc", "111", 0) == list("abc")
    _, _, test = load_data(table, plan.classes, tmp_path).parts(1)
    assert len(images_to_test(test, 1)) == len(test.images)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["image,area", "images/00_0.png,3"], "'lung_pixels' and 'lung'"),
        (["image,lung_pixels", "images/00_0.png,many"], "lung_pixels is 'many'"),
        (["image,lung_pixels", "images/00_0.png,5000"], "from 1 to 4096"),
        (["image,lung", "images/00_0.png,nowhere.png"], "no file of a lung mask"),
        (["image,lung_pixels", "elsewhere.png,5"], "names no image of the table"),
    ],
)
def test_lung_areas_that_cannot_be_used_are_told(rows, said, table, plan, tmp_path):
    images = load_data(table, plan.classes, tmp_path).images
    path = tmp_path / "lungs.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        lung_areas(path, images)


def test_a_lung_mask_is_counted_with_its_lesions(table, plan, tmp_path):
    images = load_data(table, plan.classes, tmp_path).images
    mask = np.zeros((64, 64), np.uint8)
    mask[:10] = 255
    io.imsave(tmp_path / "lung.png", mask, check_contrast=False)
    (tmp_path / "lungs.csv").write_text("image,lung\nimages/00_0.png,lung.png\n", encoding="utf-8")
    areas = lung_areas(tmp_path / "lungs.csv", images)
    assert areas == {"images/00_0.png": 640 + np.count_nonzero(images[0].pixels.mask)}


def test_label_maps_take_the_most_probable_class_above_half():
    soft = np.array([[[0.6, 0.5, 0.2]], [[0.7, 0.4, 0.9]]], np.float32)
    assert label_map(soft).tolist() == [[2, 0, 2]]


def test_overlays_have_the_papers_colours():
    colors = class_colors(("ground-glass opacity", "something else", "fibrosis"))
    assert colors[1] == (220, 50, 50)
    assert colors[3] == (60, 110, 220)
    assert len(set(colors.values())) == 4
    image = np.full((2, 2), 100, np.uint8)
    picture = overlay(image, np.array([[0, 1], [3, 255]], np.uint8), colors)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[0, 1].argmax() == 0
    assert picture[1, 0].argmax() == 2


def test_the_papers_lesions_stand_first(plan, output):
    found = lesions_of(gather(plan, output))
    assert found == [
        *(("fibrosis", None), ("consolidation", 1), ("ground-glass opacity", 0)),
        ("any lesion", ANY),
    ]


def test_schedules(plan):
    full = find_plan("coarse-refine").schedules["published"]
    schedule = to_schedule(full, 3012, started=False)
    assert schedule.steps == 200 * 1883  # 15 060 / 8, the last batch filled up
    assert (schedule.validate_every, schedule.patience) == (1883, 20)
    assert schedule.rate(schedule.steps - 1) == 1
    assert schedule.learning_rate == 3e-4
    assert schedule.clip == schedule.average == 0
    written = replace(full, epochs=None, steps=90, patience=0, choose="last", encoder_factor=0.5)
    schedule = to_schedule(written, 100, started=True)
    assert (schedule.steps, schedule.validate_every, schedule.encoder_factor) == (90, 90, 0.5)
    classifier = to_schedule(written, 100, started=False, kind="classification")
    assert classifier.validate_every == 18  # five times in the run
    assert classifier.encoder_factor == 1


def test_shipped_plans_have_the_papers_rows():
    levers = {"ours-resnet50-imagenet", "ours-given-encoder"}
    shipped = (
        ("coarse-refine", 5, levers),
        ("coarse-refine-short", 1, {*levers, "ours-hybrid-only", "ours-bce-only"}),
    )
    for name, folds, extra in shipped:
        plan = find_plan(name)
        assert len(plan.folds) == folds
        assert [row.label for row in plan.tables["T4"]] == ["U-Net", "U-Net++", "Ours"]
        seventh = [plan.runs[row.run] for row in plan.tables["T7"]]
        assert all(run.classes == "any" and run.gate for run in seventh)
        switches = [
            (r.network.get("aspp", True), r.network.get("refinement", True), len(r.loss))
            for r in seventh
        ]
        assert switches == [(False, False, 1), (True, False, 1), (True, True, 1), (True, True, 3)]
        assert {run for run in plan.runs if plan.is_extra(run)} == extra


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["tables_of"], "refnet", "no plan of the coarse-refine tables"),
        (["folds"], [0], "folds from 1 to 5"),
        (["classes"], ["a", "a"], "each lesion class once"),
        (["schedules", "s", "size"], 65, "multiple of 32"),
        (["schedules", "s", "epochs"], 3, "either 'steps' or 'epochs'"),
        (["schedules", "s", "batches"], "all", "'fivefold' or 'mixture'"),
        (["runs", "unet", "gate"], True, "coarse-refine network alone"),
        (["runs", "unet", "loss"], ["dice"], "some of bce, ssim, iou"),
        (["runs", "unet", "network"], {"network": "x"}, "unknown network 'x'"),
        (["runs", "unet", "init"], "weights", "must name its 'weights'"),
        (["runs", "classifier", "network"], {"encoder": "x"}, "cannot be"),
        (["runs", "classifier", "gate"], True, "it has no gate"),
        (["tables", "T5"], "plain", "segmentation of each class"),
        (["tables", "T6"], [{"label": "x", "run": "unet"}], "needs a run with a gate"),
        (["tables", "T7"], [{"label": "x", "run": "classifier"}], "needs a segmentation"),
        (["tables", "T4"], [{"label": "x", "run": "nobody"}], "unknown run 'nobody'"),
        (["tables", "T9"], [], "unknown field 'T9'"),
        (["more"], 1, "unknown field 'more'"),
    ],
)
def test_a_wrong_plan_is_told_in_a_sentence(path, value, said):
    data = small_plan()
    place = data
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(RequestError, match=said):
        parse_plan(json.loads(json.dumps(data)))
