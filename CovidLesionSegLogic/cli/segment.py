"""``segment``: one CT to lesions, numbers and report."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.parsing import Parser, add_compute_options, add_output_options
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.request import requested_formats, requested_options
from CovidLesionSegLogic.cli.signals import cancel_on_signals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from CovidLesionSegLogic.ct.volume import CTVolume
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.pipeline import GateResult, SegmentationResult, SegmentOptions

EPILOG = """\
examples:
  covid-lesion-seg segment CT_FOLDER -o results
  covid-lesion-seg segment scan.nii.gz -o results --lungs lungs.nii.gz --device cuda:0
  covid-lesion-seg segment CT_FOLDER -o results --lesion-types
  covid-lesion-seg segment CT_FOLDER -o results --format nii.gz --probability --name patient7
  covid-lesion-seg segment DICOM_FOLDER -o results --format seg.nrrd,dicom-seg

For a study called NAME the folder DIR gets: NAME.seg.nrrd, NAME_labels.nii.gz,
NAME_lungs.nii.gz, NAME.seg.dcm (with --format dicom-seg), NAME_probability.nii.gz (with
--probability), NAME_quantification.json and .csv, NAME_overview.png, NAME_report.html. They
appear whole and together, or not at all; those of an earlier run of the same study are replaced,
another study's are never.
"""


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "segment",
        help="segment one CT",
        description="Segment and measure the lesions of one chest CT.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="DICOM folder or file, or a .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd file in HU",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="output folder"
    )
    parser.add_argument(
        "--lesion-types",
        action="store_true",
        help="tell lesion types apart: short for --model coarse-refine",
    )
    add_compute_options(parser)
    parser.add_argument(
        "--lungs",
        type=Path,
        metavar="FILE",
        help="lung mask (1 right, 2 left) to use instead of finding the lungs",
    )
    parser.add_argument(
        "--regions",
        type=Path,
        metavar="FILE",
        help="label map, lobes for instance, for which figures are given too",
    )
    parser.add_argument(
        "--region-names",
        metavar="NAMES",
        help="names of the regions where their file has none: '1=left upper lobe,2=...' or a "
        ".json file",
    )
    parser.add_argument(
        "--series", metavar="UID", help="Series Instance UID, where a folder has several series"
    )
    parser.add_argument(
        "--allow-missing-slices",
        action="store_true",
        help="accept a DICOM series with gaps (a warning is kept in the result)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="beginning of the file names (default: from the input)"
    )
    add_output_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.engine import Cancel

    cancel = Cancel()
    with cancel_on_signals(cancel):
        options = prepare(args, reporter)
        ct = read(args, reporter, cancel)
        _, outputs = segment_and_write(ct, options, args, reporter, cancel)
        reporter.done(outputs)
    return 0


def prepare(args: argparse.Namespace, reporter: Reporter) -> SegmentOptions:
    """Check the whole request before any work is done."""
    from CovidLesionSegLogic.outputs import check_output_folder, check_study_name
    from CovidLesionSegLogic.pipeline import check_options
    from CovidLesionSegLogic.quantify import parse_region_names

    args.output = check_output_folder(args.output)
    if args.name is not None:
        check_study_name(args.name)
    names = getattr(args, "region_names", None)
    options = requested_options(
        args,
        lungs=getattr(args, "lungs", None),
        regions=getattr(args, "regions", None),
        region_names=parse_region_names(names) if names else None,
    )
    check_options(options)
    requested_formats(args, reporter)
    return options


def read(args: argparse.Namespace, reporter: Reporter, cancel: Cancel) -> CTVolume:
    """Read the input, heeding a wish to stop."""
    from CovidLesionSegLogic.ct import read_ct

    def progress(stage: str, done: int, total: int) -> None:
        cancel.check()
        reporter.progress(stage, done, total)

    ct = read_ct(
        args.input,
        series_uid=args.series,
        allow_missing_slices=args.allow_missing_slices,
        progress=progress,
    )
    cancel.check()
    return ct


def segment_and_write(
    ct: CTVolume,
    options: SegmentOptions,
    args: argparse.Namespace,
    reporter: Reporter,
    cancel: Cancel,
    *,
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[SegmentationResult, dict[str, Path]]:
    """Segment, write the files, and tell the numbers; the caller says that all is done."""
    from CovidLesionSegLogic.cli.table import result_lines
    from CovidLesionSegLogic.outputs import (
        check_same_study,
        check_source,
        file_stem,
        write_outputs,
    )
    from CovidLesionSegLogic.pipeline import segment_ct
    from CovidLesionSegLogic.quantify import SCORE_NOTE, SCORE_SOURCE

    check_source(ct, args.format)
    check_same_study(args.output, file_stem(args.name or ct.name), ct.source)

    def progress(stage: str, done: int, total: int) -> None:
        cancel.check()
        reporter.progress(stage, done, total)

    result = segment_ct(ct, options, progress=progress, cancel=cancel)

    outputs = write_outputs(
        result,
        args.output,
        args.format,
        probability=args.probability,
        report=not args.no_report,
        extra=extra,
        name=args.name,
        progress=progress,
    )
    for message in result.warnings:
        reporter.warning(message)
    for line in result_lines(result):
        reporter.line(line)
    score = result.quantification.score_0_to_25
    if score is not None:
        reporter.line(f"CT severity score: {score} of 25 ({SCORE_SOURCE}); {SCORE_NOTE}.")
    if result.gate is not None:
        reporter.line(gate_line(result.gate))
    return result, outputs


def gate_line(gate: GateResult) -> str:
    """What the gate saw and did, as a screening: slices are counted, nobody is diagnosed."""
    decisions = [
        f"{'signs' if found else 'no signs'} of infection by the rule '{rule}'"
        for rule, found in (
            (gate.rule_text, gate.infected),
            ("at least one slice", gate.infected_any_slice),
        )
    ]
    return (
        f"Gate: {gate.looked_at} slices looked at, {gate.left_out} left out, {gate.positive} with "
        f"signs of infection; screening: {', '.join(dict.fromkeys(decisions))}."
    )
