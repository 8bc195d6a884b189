"""``evaluate``: measure a model against reference masks, on slices or on volumes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.cli.parsing import (
    Parser,
    add_compute_options,
    add_debug_option,
    add_device_option,
    add_flips_option,
    add_model_option,
    add_progress_option,
)
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.request import check_output_file
from CovidLesionSegLogic.cli.signals import cancel_on_signals
from CovidLesionSegLogic.cli.table import table

SLICES_EPILOG = """\
example:
  covid-lesion-seg evaluate slices --model refnet --images images --masks lesion \\
      --protocol refnet -o slices.json --maps maps --curves curves

Pictures (png, jpg, bmp, tif) are 8-bit grey and pair by name without suffix. The file says how
every figure was computed; of the three Dice values only dice_mean_256 compares with the paper's.

  covid-lesion-seg evaluate slices --model NAME --images images --masks classes \\
      --protocol coarse-refine --patient '^(p[0-9]+)_' -o slices.json

For models with classes of lesion: masks are class maps (0, and the label values of the model's
card), or in DIR/CLASS_NAME/ lesion masks of each class.
"""
VOLUMES_EPILOG = """\
example:
  covid-lesion-seg evaluate volumes --model refnet --ct 'data/*_ct.nii.gz' \\
      --lesion 'data/*_lesion.nii.gz' --lung 'data/*_lung.nii.gz' -o volumes.json

Files pair in sorted order. The product finds the lungs itself; --lung is only the truth that its
lungs are scored against, never given to the network. Where the lesion files hold the labels of a
model with several classes, each class is judged too.
"""
SLICE_ROWS = {
    "dice_mean_256": "Dice, mean over 256 thresholds (as published)",
    "dice_own_threshold": "Dice at the model's own threshold",
    "dice_max": "Dice, maximum of the mean curve",
    "sensitivity": "Sensitivity, mean over 256",
    "specificity": "Specificity, mean over 256",
    "s_measure": "S-measure",
    "e_measure_mean": "E-measure, mean over 256",
    "mae": "MAE",
}
VOLUME_ROWS = {
    "dice": "Lesion Dice",
    "sensitivity": "Lesion sensitivity",
    "precision": "Lesion precision",
    "volume_error_ml": "Volume error, mL",
    "absolute_volume_error_ml": "Absolute volume error, mL",
    "false_positive_ml": "False positive, mL",
    "lung_dice": "Lung Dice",
    "right_lung_dice": "Right lung Dice",
    "left_lung_dice": "Left lung Dice",
}


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "evaluate",
        help="measure a model against reference masks",
        description="Measure the accuracy of a lesion model on slices or volumes with masks.",
    )
    kinds = parser.add_subparsers(dest="kind", metavar="slices|volumes", required=True)
    for add in (_add_slices, _add_volumes):
        one = add(kinds)
        one.add_argument(
            "-o",
            "--output",
            type=Path,
            required=True,
            metavar="FILE.json",
            help="where the figures go",
        )
        add_progress_option(one)
        add_debug_option(one)
    return parser


def _add_slices(kinds: Any) -> Parser:
    parser: Parser = kinds.add_parser(
        "slices",
        help="8-bit slices by a published protocol",
        description="Evaluate on 8-bit grey slices with lesion masks.",
        epilog=SLICES_EPILOG,
    )
    add_model_option(parser)
    for name, what in (("--images", "grey slices"), ("--masks", "lesion masks")):
        parser.add_argument(name, type=Path, required=True, metavar="DIR", help=f"folder of {what}")
    parser.add_argument(
        "--protocol",
        required=True,
        metavar="refnet|coarse-refine",
        help="refnet: as published for Ref-Net and Inf-Net, any lesion; coarse-refine: overlap of "
        "hard masks for each class, by image, pooled and by patient",
    )
    parser.add_argument(
        "--patient",
        metavar="REGEX",
        help="with coarse-refine: regular expression that finds the patient in a picture's name: "
        "its first group, or all of it (default: each picture is a patient)",
    )
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="also write the soft maps, NAME.png, 8 bits; with coarse-refine and several classes "
        "in a folder for each",
    )
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="DIR",
        help="also write precision-recall and F-measure (coarse-refine: Dice) curves, CSV and PNG",
    )
    add_device_option(parser)
    add_flips_option(parser)
    parser.set_defaults(run=run_slices)
    return parser


def _add_volumes(kinds: Any) -> Parser:
    parser: Parser = kinds.add_parser(
        "volumes",
        help="CT volumes, as 'segment' would do them",
        description="Evaluate on CT volumes with lesion masks on the same grid.",
        epilog=VOLUMES_EPILOG,
    )
    for name, what, required in (
        ("--ct", "CTs: files or DICOM folders", True),
        ("--lesion", "lesion masks", True),
        ("--lung", "lung masks, only to score the lungs that the product finds", False),
    ):
        parser.add_argument(
            name, nargs="+", required=required, metavar="GLOB", help=f"{what} (quote the pattern)"
        )
    add_compute_options(parser)
    parser.set_defaults(run=run_volumes)
    return parser


def run_slices(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run ``evaluate slices``."""
    from CovidLesionSegLogic.assess.evaluate_slices import evaluate_slices
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.outputs import check_output_folder

    check_output_file(args.output)
    for folder in (args.maps, args.curves):
        if folder is not None:
            check_output_folder(folder)
    cancel = Cancel()
    with cancel_on_signals(cancel):
        report = evaluate_slices(
            args.model,
            args.images,
            args.masks,
            args.output,
            protocol=args.protocol,
            patient=args.patient,
            device=args.device,
            flips=args.flips,
            maps=args.maps,
            curves=args.curves,
            progress=reporter.progress,
            cancel=cancel,
        )
    if "metrics" in report:
        _tell(report, SLICE_ROWS, reporter)
        if "notice" in report:
            reporter.line(report["notice"])
    else:
        _tell_overlap(report, reporter)
    outputs = {"figures": args.output, "maps": args.maps, "curves": args.curves}
    reporter.done({key: path for key, path in outputs.items() if path is not None})
    return 0


def run_volumes(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run ``evaluate volumes``."""
    from CovidLesionSegLogic.assess.evaluate_volumes import evaluate_volumes, find_cases
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.models import DEFAULT_MODEL
    from CovidLesionSegLogic.pipeline import SegmentOptions, check_options

    check_output_file(args.output)
    options = SegmentOptions(
        model=args.model or DEFAULT_MODEL,
        device=args.device,
        threshold=args.threshold,
        gate=args.gate,
        flips=args.flips,
        engine=args.engine,
        batch_size=args.batch_size,
    )
    check_options(options)
    cancel = Cancel()
    with cancel_on_signals(cancel):
        report = evaluate_volumes(
            find_cases(args.ct, args.lesion, args.lung),
            args.output,
            options,
            progress=reporter.progress,
            cancel=cancel,
        )
    for row in report["volumes"]:
        for message in row["warnings"]:
            reporter.warning(f"{row['name']}: {message}")
    _tell(report, VOLUME_ROWS, reporter)
    for one in report.get("classes", ()):
        reporter.line("")
        _tell(report | one, VOLUME_ROWS, reporter, of=one["name"])
    alone = report.get("volumes_judged_for_any_lesion_only")
    if alone:
        reporter.line(
            "Judged for any lesion only, as their masks do not tell the classes apart: "
            f"{', '.join(alone)}."
        )
    reporter.done({"figures": args.output})
    return 0


def _tell(
    report: Mapping[str, Any], names: Mapping[str, str], reporter: Reporter, *, of: str = ""
) -> None:
    """The metrics as a table, the counts above it; ``of`` which class, where of one."""
    reporter.line(f"{_head(report, of)}; {_counts(report['counts'])}")
    rows = [["", "value", "95 % interval", "n"]]
    for key, name in names.items():
        metric = report["metrics"].get(key)
        if metric is not None:
            rows.append([name, *_cells(metric), str(metric["n"])])
    for line in table(rows):
        reporter.line(line)


def _tell_overlap(report: Mapping[str, Any], reporter: Reporter) -> None:
    """Each class's four measures in three ways, its counts above them."""
    reporter.line(f"{_head(report)}; {_counts(report['counts'])}")
    for one in report["classes"]:
        reporter.line("")
        reporter.line(f"{one['name']}; {_counts(one['labels']['counts'])}")
        rows = [["", "Dice", "95 % interval", "IoU", "precision", "recall", "n"]]
        for way, metrics in one["labels"]["metrics"].items():
            others = [_cells(metrics[key])[0] for key in ("iou", "precision", "recall")]
            dice = metrics["dice"]
            rows.append([way.replace("_", " "), *_cells(dice), *others, str(dice["n"])])
        for line in table(rows):
            reporter.line(line)
    others = report["protocol"]["mask_folders_not_judged"]
    if others:
        reporter.line(f"Mask folders of no class of this model, not judged: {', '.join(others)}.")


def _head(report: Mapping[str, Any], of: str = "") -> str:
    model = report["model"]
    return f"{model['name']} {model['version']}" + (f", {of}" if of else "")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in counts.items())


def _cells(metric: Mapping[str, Any]) -> list[str]:
    """A figure and its interval."""
    value, low, high = metric["value"], metric["low"], metric["high"]
    interval = "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return ["-" if value is None else f"{value:.3f}", interval]
