"""``tables refnet``: train what the paper's tables compare, report ours beside the printed."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli import tables_coarse_refine
from CovidLesionSegLogic.cli.parsing import Parser
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.tables_options import (
    SOME_FAILED,
    add_file_option,
    add_plan_option,
    add_tables_options,
    check_folders,
    existing,
    named_files,
    run_told,
)
from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.assess.tables.plan import Plan

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
    kinds = parser.add_subparsers(dest="kind", metavar="refnet|coarse-refine", required=True)
    _add_refnet(kinds)
    tables_coarse_refine.add_parser(kinds)
    return parser


def _add_refnet(kinds: Any) -> None:
    one: Parser = kinds.add_parser(
        "refnet",
        help="Ref-Net: Tables 1 to 4, Figures 6 and 7",
        description="Ref-Net's Tables 1 to 4, Figures 6 and 7.",
        epilog=EPILOG,
    )
    add_plan_option(one, "refnet-short")
    one.add_argument("--data", type=Path, metavar="DIR", help="folder of the data sets")
    add_tables_options(one)
    add_file_option(one, "slices", "further training slices")
    one.set_defaults(run=run)


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.engine.device import require_torch

    require_torch()
    from CovidLesionSegLogic.assess.tables.read_plan import find_plan
    from CovidLesionSegLogic.assess.tables.report import write_report

    check_folders(args)
    plan = find_plan(args.plan).with_steps(None if args.steps is None else int(args.steps))
    complete = args.report or _train(args, plan, reporter)
    outputs = write_report(plan, args.output, args.publish)
    reporter.done(outputs)
    return 0 if complete else SOME_FAILED


def _train(args: argparse.Namespace, plan: Plan, reporter: Reporter) -> bool:
    from CovidLesionSegLogic.assess.tables.build import Starts
    from CovidLesionSegLogic.assess.tables.runner import choose_jobs, run_jobs
    from CovidLesionSegLogic.assess.tables.training import Place
    from CovidLesionSegLogic.engine import choose_device

    if args.data is None:
        raise RequestError("Training needs --data DIR; --report alone only writes the report.")
    starts = Starts(
        existing(args.imagenet),
        named_files(args.weights, "weights"),
        named_files(args.slices, "slices"),
    )
    jobs = choose_jobs(plan, args.only, args.tables)
    place = Place(args.data, args.output, starts, choose_device(args.device))
    return run_told(partial(run_jobs, jobs, place), args, reporter)
