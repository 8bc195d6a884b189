"""What the ``tables`` of both papers have in common on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLesionSegLogic.cli.parsing import (
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
    from CovidLesionSegLogic.assess.tables.work import Outcome

SOME_FAILED = 4
"""Exit code: finished, but not every run could be done."""


def add_tables_options(parser: argparse.ArgumentParser) -> None:
    """Output, starts, choice of runs, and whether to train at all."""
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of runs and report"
    )
    parser.add_argument(
        "--imagenet", type=Path, metavar="FILE", help="model.json of the TensorFlow.js ResNet-50"
    )
    add_file_option(parser, "weights", "encoder weights")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="these runs only")
    parser.add_argument(
        "--tables", type=comma_list, metavar="T,...", help="only the runs of these tables"
    )
    parser.add_argument(
        "--steps",
        type=ranged(int, 0, 10_000_000, "a whole number of at least 1"),
        metavar="N",
        help="optimiser steps of every run instead of the plan's; the report tells it",
    )
    parser.add_argument(
        "--restart", action="store_true", help="train runs again whose entry in the plan changed"
    )
    parser.add_argument(
        "--report", action="store_true", help="train nothing: write the report of what was run"
    )
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DIR",
        help="also write the report without anything that shows images of patients",
    )
    add_device_option(parser)
    add_progress_option(parser)
    add_debug_option(parser)


def add_plan_option(parser: argparse.ArgumentParser, default: str) -> None:
    """``--plan``: a shipped plan or a file."""
    parser.add_argument(
        "--plan",
        default=default,
        metavar="P",
        help=f"a shipped plan or a JSON file (default: {default})",
    )


def add_file_option(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    """``--NAME`` for files that a plan calls by a name of its own."""
    parser.add_argument(
        f"--{name}",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help=f"{what} that the plan calls NAME (repeat for several)",
    )


def check_folders(args: argparse.Namespace) -> None:
    """RequestError where output or publication cannot be written, or would publish images."""
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


def existing(path: Path | None) -> Path | None:
    """The path; RequestError where it is given and no file."""
    if path is not None and not path.is_file():
        raise RequestError(f"{path} is not a file: correct the name.")
    return path


def named_files(given: Sequence[str], option: str) -> dict[str, Path]:
    """Files by name from NAME=FILE; RequestError where one is not of that form, or no file."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise RequestError(f"--{option} takes NAME=FILE, not '{text}'.")
        if name in found:
            raise RequestError(f"--{option} names '{name}' twice: give one file for it.")
        found[name] = Path(path)
        existing(found[name])
    return found


def run_told(
    run: Callable[..., Sequence[Outcome]], args: argparse.Namespace, reporter: Reporter
) -> bool:
    """Do the runs, stopped by signals; whether none failed or lacked a file.

    What another process runs is not a failure.
    """
    from CovidLesionSegLogic.engine import Cancel

    cancel = Cancel()
    with cancel_on_signals(cancel):
        outcomes = run(
            restart=args.restart, progress=reporter.progress, cancel=cancel, tell=reporter.line
        )
    for outcome in outcomes:
        if outcome.worth_telling:
            reporter.warning(f"{outcome.name}: {outcome.state}")
    return not any(outcome.failed for outcome in outcomes)
