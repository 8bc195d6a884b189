"""Entry point: parse, run, and turn every failure into a sentence and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.cli import (
    batch,
    bench,
    demo,
    evaluate,
    models,
    segment,
    tables,
    train,
    worker,
)
from CovidLesionSegLogic.cli.parsing import Parser, add_debug_option
from CovidLesionSegLogic.cli.progress import JsonReporter, Reporter, TextReporter
from CovidLesionSegLogic.cli.streams import json_stream, open_standard_streams, silence, telling
from CovidLesionSegLogic.errors import (
    NO_MEMORY,
    CancelledError,
    CovidLesionSegError,
    InputError,
)

DEBUG_VARIABLE = "COVIDLESIONSEG_DEBUG"
HOME_PAGE = "https://github.com/CovidLesionSeg/CovidLesionSeg"
COMMANDS = (segment, batch, evaluate, train, tables, demo, models, bench, worker)

DESCRIPTION = """\
Segment and measure COVID-19 lesions in chest CT.

Research software, not for clinical use. Nothing leaves this machine.
"""
EPILOG = """\
examples:
  covid-lesion-seg demo                             try it on a built-in sample CT
  covid-lesion-seg segment DICOM_FOLDER -o results  segment one study
  covid-lesion-seg batch FOLDER -o results          segment many studies
  covid-lesion-seg segment --help                   all options of a command

exit codes: 0 done; 2 the request is wrong, or the output cannot be written (rights, full disk);
3 the input or an installed file cannot be used; 4 finished, some of several failed; 130 cancelled;
1 the graphics card failed, or an internal error (--debug or COVIDLESIONSEG_DEBUG=1 shows the
traceback)
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands; each sets ``run(args, reporter, cancel)``."""
    parser = Parser(prog="covid-lesion-seg", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"CovidLesionSeg {__version__}")
    add_debug_option(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        add_debug_option(command.add_parser(commands))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and never raises."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks a letter must not end the run
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    try:
        with _reporter(arguments) as reporter:
            return _run(arguments, reporter, debug)
    except BrokenPipeError:  # the reader of our output is gone: nobody to tell
        silence(sys.stdout)
        return CancelledError.exit_code


def _run(arguments: list[str], reporter: Reporter, debug: bool) -> int:
    try:
        args = build_parser().parse_args(arguments)
        logging.basicConfig(
            level=logging.DEBUG if debug else logging.ERROR, format="%(levelname)s: %(message)s"
        )
        code: int = args.run(args, reporter)
        with telling():
            sys.stdout.flush()
        return code
    except SystemExit as request:  # --help and --version
        return int(request.code or 0)
    except KeyboardInterrupt:
        return _failed(reporter, CancelledError(), debug)
    except BrokenPipeError:
        raise
    except CovidLesionSegError as error:
        return _failed(reporter, error, debug)
    except Exception as error:  # noqa: BLE001 - the last resort of a command line
        from CovidLesionSegLogic.engine.memory import is_out_of_memory

        if is_out_of_memory(error):
            return _failed(reporter, InputError(NO_MEMORY), debug)
        reporter.close()
        if debug:
            traceback.print_exc()
        hint = "" if debug else "run again with --debug for the traceback and "
        reporter.error(
            1,
            f"internal error: {type(error).__name__}: {error}. This is a fault of the program: "
            f"please {hint}report it at {HOME_PAGE}/issues.",
        )
        return 1
    finally:
        reporter.close()


def _failed(reporter: Reporter, error: CovidLesionSegError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    reporter.error(error.exit_code, str(error))
    return error.exit_code


@contextlib.contextmanager
def _reporter(arguments: list[str]) -> Iterator[Reporter]:
    """By ``--progress``, read before parsing, so that a parsing error is told the same way."""
    choice = "text"
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if argument.split("=")[0] == "--progress":
            choice = argument.partition("=")[2] or following
    if choice == "json":
        with json_stream() as stream:
            yield JsonReporter(stream)
    else:
        yield TextReporter(show_progress=choice != "none")
