"""``tables``: train what a paper's tables compare, and report ours beside the printed numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.parsing import (
    Parser,
    add_debug_option,
    add_device_option,
    add_progress_option,
    comma_list,
    ranged,
)
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.signals import cancel_on_signals
from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.assess.tables.plan import Plan

SOME_FAILED = 4
"""Exit code: finished, but not every run could be done."""

EPILOG = """\
examples:
  covid-lesion-seg tables refnet --data DATA -o tables --imagenet model.json
  covid-lesion-seg tables refnet --plan refnet --data DATA -o full --tables T1
  covid-lesion-seg tables refnet -o tables --report --publish docs/tables

Each run trains into DIR/runs/NAME and is done once: started again, the command goes on where it
was stopped, and several processes may share DIR. A cell whose run was not done stays empty.
Plans: refnet (the published schedule), refnet-short (the default), or a file of your own.
"""


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "tables",
        help="the papers' tables, trained and measured here",
        description="Train and measure what a paper's tables compare.",
    )
    kinds = parser.add_subparsers(dest="kind", metavar="refnet", required=True)
    one: Parser = kinds.add_parser(
        "refnet",
        help="Ref-Net: Tables 1 to 4, Figures 6 and 7",
        description="Ref-Net's Tables 1 to 4, Figures 6 and 7.",
        epilog=EPILOG,
    )
    one.add_argument(
        "--plan",
        default="refnet-short",
        metavar="P",
        help="a shipped plan or a JSON file (default: refnet-short)",
    )
    one.add_argument("--data", type=Path, metavar="DIR", help="folder of the data sets")
    one.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of runs and report"
    )
    one.add_argument(
        "--imagenet", type=Path, metavar="FILE", help="model.json of the TensorFlow.js ResNet-50"
    )
    for name, what in (("weights", "encoder weights"), ("slices", "further training slices")):
        one.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="NAME=FILE",
            help=f"{what} that the plan calls NAME (repeat for several)",
        )
    one.add_argument("--only", nargs="+", metavar="RUN", help="these runs only")
    one.add_argument(
        "--tables", type=comma_list, metavar="T,...", help="only the runs of these tables"
    )
    one.add_argument(
        "--steps",
        type=ranged(int, 0, 10_000_000, "a whole number of at least 1"),
        metavar="N",
        help="optimiser steps of every run instead of the plan's; the report tells it",
    )
    one.add_argument(
        "--restart", action="store_true", help="train runs again whose entry in the plan changed"
    )
    one.add_argument(
        "--report", action="store_true", help="train nothing: write the report of what was run"
    )
    one.add_argument(
        "--publish",
        type=Path,
        metavar="DIR",
        help="also write the report without anything that shows images",
    )
    add_device_option(one)
    add_progress_option(one)
    add_debug_option(one)
    one.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.engine.device import require_torch

    require_torch()
    from CovidLesionSegLogic.assess.tables.read_plan import find_plan
    from CovidLesionSegLogic.assess.tables.report import write_report
    from CovidLesionSegLogic.assess.tables.result import WITH_IMAGES
    from CovidLesionSegLogic.outputs import check_output_folder

    for folder in filter(None, (args.output, args.publish)):
        check_output_folder(folder)
    if args.publish is not None:
        output, publish = args.output.resolve(), args.publish.resolve()
        # A folder that holds the output would be published with the images in it.
        if output.is_relative_to(publish) or publish.is_relative_to(output / WITH_IMAGES):
            raise RequestError(
                "--publish must be another folder than -o, whose files show images, and not one "
                "around it."
            )
    plan = find_plan(args.plan).with_steps(None if args.steps is None else int(args.steps))
    complete = args.report or _train(args, plan, reporter)
    outputs = write_report(plan, args.output, args.publish)
    reporter.done(outputs)
    return 0 if complete else SOME_FAILED


def _train(args: argparse.Namespace, plan: Plan, reporter: Reporter) -> bool:
    """Whether no run failed or lacked a file; what another process runs is not a failure."""
    from CovidLesionSegLogic.assess.tables.build import Starts
    from CovidLesionSegLogic.assess.tables.runner import choose_jobs, run_jobs
    from CovidLesionSegLogic.assess.tables.training import Place
    from CovidLesionSegLogic.engine import Cancel, choose_device

    if args.data is None:
        raise RequestError("Training needs --data DIR; --report alone only writes the report.")
    starts = Starts(args.imagenet, _files(args.weights, "weights"), _files(args.slices, "slices"))
    for path in filter(None, (starts.imagenet, *starts.weights.values(), *starts.slices.values())):
        if not path.is_file():
            raise RequestError(f"{path} is not a file: correct the name.")
    jobs = choose_jobs(plan, args.only, args.tables)
    place = Place(args.data, args.output, starts, choose_device(args.device))
    cancel = Cancel()
    with cancel_on_signals(cancel):
        outcomes = run_jobs(
            jobs,
            place,
            restart=args.restart,
            progress=reporter.progress,
            cancel=cancel,
            tell=reporter.line,
        )
    for outcome in outcomes:
        if outcome.state not in ("done", "finished before"):
            reporter.warning(f"{outcome.job.folder}: {outcome.state}")
    return not any(outcome.state.startswith("not run") for outcome in outcomes)


def _files(given: list[str], option: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise RequestError(f"--{option} takes NAME=FILE, not '{text}'.")
        if name in found:
            raise RequestError(f"--{option} names '{name}' twice: give one file for it.")
        found[name] = Path(path)
    return found
