"""``models``: what is installed, whether it is sound, how accurate it was measured to be."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.parsing import Parser
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.errors import InputError

if TYPE_CHECKING:
    from CovidLesionSegLogic.models import ModelCard


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "models",
        help="list the installed models or verify their files",
        description="What is installed: networks, checksums, licence, measured accuracy.",
        epilog="COVIDLESIONSEG_MODELS names further folders with models (searched first).",
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "verify"),
        default="list",
        help="list (default), or verify: compare every weight file with its checksum",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command; exit code 3 when a model cannot be used."""
    from CovidLesionSegLogic.models import list_models, model_folders, verify

    if args.action == "list":
        cards = list_models()
        for card in cards:
            for line in describe(card):
                reporter.line(line)
            reporter.line()
        if not cards:
            folders = ", ".join(str(f) for f in model_folders()) or "no model folder exists"
            raise InputError(f"No model is installed (looked in: {folders}); reinstall.")
        return 0
    results = verify()
    for result in results:
        state = "ok" if result.ok else f"NOT USABLE: {result.problem}"
        reporter.line(f"{result.name}: {state}")
    bad = [r.name for r in results if not r.ok]
    if bad or not results:
        what = ", ".join(bad) or "any model (none is installed)"
        raise InputError(f"The files of {what} cannot be used; reinstall the extension.")
    return 0


def describe(card: ModelCard) -> list[str]:
    """The card for people."""
    size = card.weights.bytes or (
        card.weights_path.stat().st_size if card.weights_path.is_file() else 0
    )
    lines = [
        f"{card.name} {card.version} ({card.task}): {card.title}",
        f"  classes    {', '.join(c.name for c in card.classes)}",
        *_limits(card),
        f"  weights    {card.weights_path} ({size / 1e6:.1f} MB)",
        f"  sha256     {card.weights.sha256}",
        f"  licence    {card.licence or 'not stated'}",
    ]
    if card.citation:
        lines.append(f"  citation   {card.citation}")
    accuracy = list(_flat(card.validation))
    lines.append("  accuracy   " + (accuracy[0] if accuracy else "not stated"))
    lines += [f"             {line}" for line in accuracy[1:]]
    return lines


def _limits(card: ModelCard) -> list[str]:
    """What a lesion model was not trained on, where its card says so, and its gate."""
    if card.task != "lesion":
        return []
    lines = []
    missing = card.training.get("not trained")
    if missing:
        words = missing if isinstance(missing, str) else ", ".join(map(str, missing))
        lines.append(f"  not found  {words} (not trained)")
    if card.gate is None:
        return [*lines, "  gate       none"]
    rule = "one slice" if card.gate.run == 1 else f"{card.gate.run} slices in a row"
    return [
        *lines,
        f"  gate       segments slices with a probability above {card.gate.segment_above:g}; above "
        f"{card.gate.threshold:g} a slice shows signs of infection, and a scan from {rule} on",
    ]


def _flat(data: Mapping[str, Any], before: str = "") -> list[str]:
    """Nested figures as "group, name: value" lines."""
    lines = []
    for key, value in data.items():
        name = f"{before}, {key}" if before else key
        if isinstance(value, Mapping):
            lines += _flat(value, name)
        elif isinstance(value, str):
            lines.append(f"{name}: {value}")
        else:
            lines.append(f"{name}: {json.dumps(value)}")
    return lines
