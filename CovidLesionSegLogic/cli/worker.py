"""``worker``: requests as JSON lines, for programs that keep a process at hand."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.cli.parsing import Parser
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.streams import json_stream, telling
from CovidLesionSegLogic.errors import RequestError

NICENESS = 5
"""So that the parent's window, on the same cores, gets its turn at once."""
EPILOG = """\
The worker keeps its models loaded between requests and ends with its parent: when standard input
closes, it removes DIR and is gone. Requests and answers are described in docs/worker.md.

example, by hand:
  mkdir exchange
  (echo '{"do": "devices", "id": 1}'; sleep 30) | covid-lesion-seg worker --exchange exchange
"""


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "worker",
        help="take requests from another program",
        description="Take requests as JSON lines on standard input, answer on standard output.",
        epilog=EPILOG,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--exchange",
        type=Path,
        metavar="DIR",
        help="existing private folder for volumes; it is removed at the end",
    )
    what.add_argument(
        "--studies",
        action="store_true",
        help="take whole studies by path, as 'batch' hands them to its processes",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.batch.study_worker import StudyWorker
    from CovidLesionSegLogic.batch.worker import Worker, serve

    if args.exchange is not None and not args.exchange.is_dir():
        raise RequestError(f"The exchange folder {args.exchange} does not exist: make it first.")
    if args.exchange is not None and hasattr(os, "nice"):
        os.nice(NICENESS)
    lock = threading.Lock()
    with json_stream() as stream:

        def send(message: Mapping[str, Any]) -> None:
            text = json.dumps(message, allow_nan=False, default=str)
            with lock, telling():
                stream.write(text + "\n")
                stream.flush()

        if args.studies:
            serve(StudyWorker(send), _own_input())
        else:
            root = private_folder(args.exchange)
            serve(Worker(root, send), _own_input(), root)
    return 0


def private_folder(folder: Path) -> Path:
    """The exchange folder, for its owner's eyes only from now on.

    RequestError where its removal at the end would take away more than was exchanged.
    """
    folder = folder.resolve()
    kept = [Path.cwd(), Path(os.path.expanduser("~")).resolve()]
    if any(one == folder or folder in one.parents for one in kept):
        raise RequestError(
            f"The exchange folder {folder} is removed at the end, and it holds the home folder or "
            "the current one: make a new folder for the exchange."
        )
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise RequestError(
            f"The exchange folder {folder} cannot be made private ({error.strerror or error}): "
            "choose one of your own."
        ) from error
    return folder


def _own_input() -> Iterator[str]:
    """The lines of standard input, which is left empty for everybody else in this process.

    A library or a child process must not take requests. On Windows, whoever asks what standard
    input is waits while a thread reads from it, and libraries ask when they are loaded.
    """
    from CovidLesionSegLogic.batch.desk import lines_of

    if sys.stdin is None:
        raise RequestError("The worker takes requests on standard input, which is closed: open it.")
    own = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8", errors="replace")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    return lines_of(own)
