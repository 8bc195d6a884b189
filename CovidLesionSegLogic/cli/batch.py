"""``batch``: many studies, one command; a bad one never stops the rest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.batch_archive import (
    add_archive_options,
    check_archive,
    find_in_archive,
)
from CovidLesionSegLogic.cli.batch_told import Told, tell_list, tell_plan
from CovidLesionSegLogic.cli.parsing import Parser, add_compute_options, add_output_options, ranged
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.request import requested_formats, requested_options
from CovidLesionSegLogic.cli.signals import cancel_on_signals
from CovidLesionSegLogic.errors import CancelledError, RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.batch.find import Found
    from CovidLesionSegLogic.batch.outcome import Listener
    from CovidLesionSegLogic.batch.place import Results
    from CovidLesionSegLogic.batch.privacy import Pseudonyms
    from CovidLesionSegLogic.batch.run import Batch, Runner
    from CovidLesionSegLogic.batch.settings import Settings
    from CovidLesionSegLogic.engine import Cancel

SOME_FAILED = 4
KEY_ENDING = ".pseudonym-key"
EPILOG = """\
examples:
  covid-lesion-seg batch STUDIES -o results
  covid-lesion-seg batch 'ct/*.nii.gz' more/scan.nrrd -o results --lesion-types --workers 2
  covid-lesion-seg batch cases.csv -o results        columns: input, and as wished name, series,
                                                     lungs, regions, region_names
  covid-lesion-seg batch TREE -o results --list      only say what would be done
  covid-lesion-seg batch --dicomweb https://pacs.example.org/dicom-web --study UID -o results

Each study gets a folder of its own in DIR with the files that 'segment' writes, whole or not at
all; summary.csv, summary.json and summary.html tell of all. The same command given again does only
what is missing, failed or has changed: input files, options or weights, by checksum.
"""


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "batch",
        help="segment many CTs",
        description="Segment and measure the lesions of many chest CTs.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="CT files, folders (DICOM of many patients may be mixed), patterns, or .csv tables "
        "of cases",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the results"
    )
    parser.add_argument(
        "--lesion-types",
        action="store_true",
        help="tell lesion types apart: short for --model coarse-refine",
    )
    add_compute_options(parser)
    parser.add_argument(
        "--workers",
        type=ranged(int, 0, 1000, "a whole number of at least 1"),
        default=0,
        metavar="N",
        help="processes that share the work of this machine (default: one per GPU, or one)",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="scheduler of an existing Dask cluster that does the work, such as tcp://host:8786; "
        "its workers need this software and the same paths",
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep results that are there and still valid (the default); --no-resume does all "
        "again",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="only list the studies, what was chosen and what is left out, and why",
    )
    parser.add_argument(
        "--allow-missing-slices",
        action="store_true",
        help="accept DICOM series with gaps (a warning is kept in the result)",
    )
    parser.add_argument(
        "--pseudonymise",
        action="store_true",
        help="codes for names; no paths, UIDs and descriptions in the results",
    )
    parser.add_argument(
        "--pseudonym-key",
        type=Path,
        metavar="FILE",
        help=f"key of the codes, made if missing (default: DIR{KEY_ENDING})",
    )
    add_archive_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.batch.place import Results
    from CovidLesionSegLogic.batch.remote import remove_leftovers
    from CovidLesionSegLogic.batch.run import plan
    from CovidLesionSegLogic.engine import Cancel

    cancel = Cancel()
    with cancel_on_signals(cancel):
        settings = prepare(args, reporter)
        results = Results(args.output)
        found = find(args, reporter, cancel)
        exchange = find_in_archive(args, found, results, reporter, cancel)
        if args.list:
            tell_list(plan(found, results, settings, pseudonyms(args)), reporter)
            return 0
        with results.held():
            check_kind_of_names(results, settings)
            batch = plan(found, results, settings, pseudonyms(args))
            remove_leftovers(results, batch.todo)
            tell_plan(batch, reporter)
            told = Told(batch, reporter)
            try:
                outputs = batch.run(
                    lambda keeper: runner(args, batch, keeper, cancel), told, exchange
                )
            except CancelledError as error:
                ended = batch.planned - batch.waiting
                raise CancelledError(
                    f"Cancelled: {ended} of {batch.planned} studies have come to their end; the "
                    "same command goes on from here."
                ) from error
            finally:
                told.close()
        reporter.done(outputs)
    return SOME_FAILED if batch.failed else 0


def prepare(args: argparse.Namespace, reporter: Reporter) -> Settings:
    """Check the whole request before any work is done."""
    from CovidLesionSegLogic.batch.settings import Settings
    from CovidLesionSegLogic.outputs import check_output_folder
    from CovidLesionSegLogic.pipeline import check_model

    args.output = check_output_folder(args.output)
    if args.pseudonym_key is not None and not args.pseudonymise:
        raise RequestError("--pseudonym-key goes with --pseudonymise; add that or leave it out.")
    if args.cluster is not None and args.workers:
        raise RequestError("A cluster has its own workers: leave --workers or --cluster out.")
    check_archive(args)
    options = requested_options(args)
    check_model(options)
    return Settings(
        options=options,
        formats=requested_formats(args, reporter),
        report=not args.no_report,
        allow_missing_slices=args.allow_missing_slices,
        pseudonymise=args.pseudonymise,
        resume=args.resume,
    )


def find(args: argparse.Namespace, reporter: Reporter, cancel: Cancel) -> Found:
    """What there is to segment on this machine."""
    from CovidLesionSegLogic.batch.find import Found, find_studies

    if not args.inputs and args.dicomweb is not None:
        return Found()
    if not args.inputs:
        raise RequestError(
            "Nothing to segment was named: give files, folders, patterns or a .csv table of cases "
            "('covid-lesion-seg batch --help' shows examples)."
        )

    def progress(stage: str, done: int, total: int) -> None:
        cancel.check()
        reporter.progress(stage, done, total)

    return find_studies(args.inputs, exclude=args.output, progress=progress)


def check_kind_of_names(results: Results, settings: Settings) -> None:
    """Results hold codes or names, never both; RequestError where they have the others."""
    mark = results.hidden / "pseudonymised"
    if mark.exists() and not settings.pseudonymise:
        raise RequestError(
            f"{results.root} holds pseudonymised results: add --pseudonymise or choose another "
            "folder."
        )
    if settings.pseudonymise:
        mark.touch()


def pseudonyms(args: argparse.Namespace) -> Pseudonyms | None:
    """What makes the codes, where they are wished for."""
    from CovidLesionSegLogic.batch.privacy import Pseudonyms

    if not args.pseudonymise:
        return None
    beside = args.output.with_name(args.output.name + KEY_ENDING)
    return Pseudonyms.from_file(args.pseudonym_key or beside)


def runner(args: argparse.Namespace, batch: Batch, listener: Listener, cancel: Cancel) -> Runner:
    """Whoever does the studies."""
    from CovidLesionSegLogic.batch.cluster import ClusterRun
    from CovidLesionSegLogic.batch.inside import InsideRun
    from CovidLesionSegLogic.batch.local import LocalRun
    from CovidLesionSegLogic.mrml import in_application

    root = batch.results.root
    if args.cluster is not None:
        return ClusterRun(args.cluster, batch.settings, root, listener, cancel=cancel)
    if in_application() and "seg.nrrd" in (batch.settings.formats or ()):
        return InsideRun(batch.settings, root, listener, cancel=cancel)
    return LocalRun(batch.settings, root, listener, workers=args.workers, cancel=cancel)
