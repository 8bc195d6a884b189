"""``tables coarse-refine``: the coarse-refine paper's tables on any user's images."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.parsing import Parser, comma_list, ranged
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.tables_options import (
    SOME_FAILED,
    add_plan_option,
    add_tables_options,
    check_folders,
    existing,
    named_files,
    run_told,
)
from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Plan

EPILOG = """\
examples:
  covid-lesion-seg tables coarse-refine --manifest images.csv -o tables --threads 2
  covid-lesion-seg tables coarse-refine --manifest images.csv -o tables --tables T4,T6 --steps 50
  covid-lesion-seg tables coarse-refine -o tables --report --publish shown

The manifest is a CSV with the columns image, patient, label ("COVID-19" or another), mask (0, the
classes 1, 2, ..., 255 for lesion of unnamed class) and severity; lung_areas.csv beside it gives
lung areas. Each run trains into DIR/runs/NAME-foldN and is done once: started again, the command
goes on where it was stopped, and several processes may share DIR.
Plans: coarse-refine (the published schedule), coarse-refine-short (the default), or your own.
"""


def add_parser(kinds: Any) -> Parser:
    """Add it to the subparsers of ``tables``."""
    parser: Parser = kinds.add_parser(
        "coarse-refine",
        help="coarse-refine network: Tables 1 to 7, Figures 4 to 6",
        description="The coarse-refine network's Tables 1 to 7 and Figures 4 to 6.",
        epilog=EPILOG,
    )
    add_plan_option(parser, "coarse-refine-short")
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="table of the images (CSV)")
    parser.add_argument(
        "--lungs",
        type=Path,
        metavar="FILE",
        help="table of lung areas or masks (default: lung_areas.csv beside the manifest)",
    )
    parser.add_argument(
        "--split",
        type=Path,
        metavar="FILE",
        help="five folds of patients (default: made once, kept in DIR/folds.json)",
    )
    parser.add_argument(
        "--folds", type=comma_list, metavar="N,...", help="folds 1 to 5 instead of the plan's"
    )
    parser.add_argument(
        "--classes",
        type=comma_list,
        metavar="NAME,...",
        help="names of the mask's values 1, 2, ... instead of the plan's",
    )
    parser.add_argument(
        "--size",
        type=ranged(int, 31, 4097, "a whole number from 32 to 4096"),
        metavar="PX",
        help="side of the images instead of the plan's, a multiple of 32; the report tells it",
    )
    parser.add_argument(
        "--threads",
        type=ranged(int, 0, 10_000, "a whole number of at least 1"),
        metavar="N",
        help="threads of the processor (default: as PyTorch chooses)",
    )
    parser.add_argument(
        "--phantoms",
        action="store_true",
        help="the images are made by a program: the report says so and shows Figure 6",
    )
    add_tables_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.engine.device import require_torch

    require_torch()
    from CovidLesionSegLogic.assess.tables.coarse_refine.report import write_report

    check_folders(args)
    if args.threads is not None:
        import torch

        torch.set_num_threads(int(args.threads))
    plan = _plan(args)
    complete = args.report or _train(args, plan, reporter)
    reporter.done(write_report(plan, args.output, args.publish))
    return 0 if complete else SOME_FAILED


def _plan(args: argparse.Namespace) -> Plan:
    from CovidLesionSegLogic.assess.tables.coarse_refine.read_plan import (
        check_classes,
        check_folds,
        find_plan,
    )
    from CovidLesionSegLogic.assess.tables.shared_schedule import check_size

    folds = None
    if args.folds is not None:
        if not all(word.isdecimal() for word in args.folds):
            raise RequestError("--folds must name folds from 1 to 5, as in --folds 1,2.")
        folds = check_folds(tuple(sorted({int(word) for word in args.folds})), "--folds")
    return find_plan(args.plan).changed(
        steps=None if args.steps is None else int(args.steps),
        size=None if args.size is None else check_size(int(args.size), "--size"),
        folds=folds,
        classes=None if args.classes is None else check_classes(tuple(args.classes), "--classes"),
    )


def _train(args: argparse.Namespace, plan: Plan, reporter: Reporter) -> bool:
    from CovidLesionSegLogic.assess.tables.build import Starts
    from CovidLesionSegLogic.assess.tables.coarse_refine.place import Place
    from CovidLesionSegLogic.assess.tables.coarse_refine.runner import choose_runs, load, run_plan
    from CovidLesionSegLogic.engine import choose_device

    manifest = existing(args.manifest)
    if manifest is None:
        raise RequestError("Training needs --manifest FILE; --report alone only writes the report.")
    starts = Starts(existing(args.imagenet), named_files(args.weights, "weights"))
    wanted = choose_runs(plan, args.only, args.tables)
    place = Place(args.output, starts, choose_device(args.device))
    data = load(
        plan,
        manifest,
        args.output,
        folds=existing(args.split),
        lungs=existing(args.lungs),
    )
    runs = partial(run_plan, plan, wanted, data, place, phantoms=args.phantoms)
    return run_told(runs, args, reporter)
