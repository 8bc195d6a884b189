"""``demo``: the main job on a built-in sample CT, compared with the known truth."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.parsing import Parser, add_compute_options, add_output_options
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.segment import prepare, read, segment_and_write
from CovidLesionSegLogic.cli.signals import cancel_on_signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EPILOG = """\
examples:
  covid-lesion-seg demo
  covid-lesion-seg demo scan.nii.gz -o my_results

Without CT a synthetic chest CT (a phantom with lesions, no patient) is made and saved too, as
phantom_ct.nii.gz; open it in 3D Slicer together with phantom.seg.nrrd. What is really there is in
phantom_truth_lesions.nii.gz (1 ground-glass opacity, 2 consolidation) and
phantom_truth_lungs.nii.gz.
"""
NAME = "phantom"


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "demo",
        help="try it on a built-in sample CT",
        description="Segment a built-in sample CT (or the given one) and show what comes out.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "input", nargs="?", type=Path, metavar="CT", help="segment this CT instead of the sample"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="output folder (default: demo_output)",
    )
    add_compute_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run, name=None, series=None, allow_missing_slices=False)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.engine import Cancel

    cancel = Cancel()
    with cancel_on_signals(cancel):
        options = prepare(args, reporter)
        if args.input is not None:
            ct = read(args, reporter, cancel)
            _, outputs = segment_and_write(ct, options, args, reporter, cancel)
            reporter.done(outputs)
            return 0

        from CovidLesionSegLogic.phantom import make_phantom

        reporter.progress("phantom", 0, 1)
        sample = make_phantom()
        sample = replace(sample, ct=replace(sample.ct, name=NAME))
        reporter.progress("phantom", 1, 1)
        volumes = {
            "ct": sample.ct.array,
            "truth_lesions": sample.lesions,
            "truth_lungs": sample.lungs,
        }
        result, outputs = segment_and_write(
            sample.ct, options, args, reporter, cancel, extra=volumes
        )
        reporter.line(
            "Agreement with the known truth (Dice, 1 = perfect): "
            f"lesions {dice(result.labels != 0, sample.lesions != 0):.3f}, "
            f"lungs {dice(result.lungs != 0, sample.lungs != 0):.3f}"
        )
        reporter.done(outputs)
    return 0


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks; 1 when both are empty."""
    both = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / both if both else 1.0
