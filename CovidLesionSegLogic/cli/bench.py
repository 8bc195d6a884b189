"""``bench``: how fast it is here, and what that is owed to."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import Any

from CovidLesionSegLogic.cli.parsing import Parser, add_device_option
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.request import check_output_file
from CovidLesionSegLogic.cli.signals import cancel_on_signals
from CovidLesionSegLogic.cli.table import table
from CovidLesionSegLogic.errors import RequestError

EPILOG = """\
examples:
  covid-lesion-seg bench --quick
  covid-lesion-seg bench scan.nii.gz --json bench.json
  covid-lesion-seg bench --growth scan.nii.gz --figure growth.png

Machines differ and are busy with other things: read the ratios, which are measured in one run with
both sides taking turns, rather than the seconds.
"""


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description="Measure a CT from file to files against a plain loop with the same weights, "
        "each saving of time against doing without, and the networks against others.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "input", nargs="?", type=Path, metavar="CT", help="measure on this CT, not on a phantom"
    )
    parser.add_argument("--quick", action="store_true", help="fewer slices and turns: minutes")
    parser.add_argument(
        "--growth",
        action="store_true",
        help="measure only how time and memory grow, from 50 to 1,200 slices (--quick: to 300)",
    )
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="with --growth: draw it, as .png"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    add_device_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.assess.bench.growth import draw_growth
    from CovidLesionSegLogic.assess.bench.run import benchmark, benchmark_growth
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.quantify import write_json

    if args.figure is not None and not args.growth:
        raise RequestError("--figure draws how time and memory grow; add --growth.")
    for file in (args.json, args.figure):
        if file is not None:
            check_output_file(file)
    cancel = Cancel()
    with cancel_on_signals(cancel):
        report = (benchmark_growth if args.growth else benchmark)(
            args.input,
            args.device,
            quick=args.quick,
            begin=lambda what: reporter.line(f"measuring: {what} ..."),
            cancel=cancel,
        )
    for line in growth_lines(report) if args.growth else report_lines(report):
        reporter.line(line)
    if args.json is not None:
        write_json(report, args.json)
    if args.figure is not None:
        draw_growth(report["growth"], args.figure)
    reporter.line(growth_summary(report) if args.growth else summary(report))
    return 0


def growth_lines(report: dict[str, Any]) -> list[str]:
    """The growth as a table for a terminal."""
    stages = list(dict.fromkeys(s for row in report["growth"] for s in row["stages"]))
    rows = [["model", "slices", "s", "s per slice", "peak MB", *(f"{s} s" for s in stages)]]
    for row in report["growth"]:
        figures = [f"{row['stages'].get(s, 0.0):.1f}" for s in stages]
        each = f"{row['seconds'] / row['slices']:.3f}"
        time, peak = f"{row['seconds']:.1f}", f"{row['peak_mb']:.0f}"
        rows.append([row["model"], str(row["slices"]), time, each, peak, *figures])
    return ["", f"{report['ct']} CT on {report['device']}", "", *table(rows), ""]


def growth_summary(report: dict[str, Any]) -> str:
    """One line: each model from the fewest to the most slices."""
    parts = []
    for model in dict.fromkeys(row["model"] for row in report["growth"]):
        own = [row for row in report["growth"] if row["model"] == model]
        parts.append(
            f"{model} {own[0]['slices']} to {own[-1]['slices']} slices: "
            f"{own[0]['seconds']:.0f} to {own[-1]['seconds']:.0f} s, "
            f"{own[0]['peak_mb']:.0f} to {own[-1]['peak_mb']:.0f} MB"
        )
    return f"bench: {'; '.join(parts)}; {report['device']}"


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report as tables for a terminal."""
    lines = ["", f"{report['ct']} CT {report['shape']} on {report['device']}"]
    for one in report["wholes"]:
        lines += ["", f"A whole CT, {one['model']} (engine: {one['engine']}):", *_stages(one)]
    rows = [["each alone", "model", "s", "x time", "voxels that differ"]]
    rows += [
        [
            s["variant"],
            s["model"],
            f"{s['seconds']:.2f}",
            f"{s['ratio']:.2f}",
            f"{s['different_voxels']} of {s['lesion_voxels']}",
        ]
        for s in report["savings"]
    ]
    lines += ["", *table(rows)]
    rows = [["one slice, one view", "GMAC", "plain s", "fast s", "ratio", "% of matrix rate"]]
    rows += [
        [
            p["network"],
            f"{p['gmac']:.1f}",
            f"{p['plain_seconds']:.3f}",
            f"{p['fast_seconds']:.3f}",
            f"{p['ratio']:.2f}",
            f"{100 * p['share_of_matrix_rate']:.0f}",
        ]
        for p in report["peers"]
    ]
    lines += ["", *table(rows)]
    rows = [["start", "s"], *([s["start"], f"{s['seconds']:.2f}"] for s in report["starts"])]
    return [*lines, "", *table(rows), ""]


def _stages(one: dict[str, Any]) -> list[str]:
    fast, plain = one["fast"][-1], one["plain"][-1]
    rows = [["stage", "s", "peak MB", "plain loop s", "peak MB"]]
    for name, cost in fast["stages"].items():
        other = plain["stages"].get(name, {"seconds": None, "peak_mb": None})
        figures = (cost["seconds"], cost["peak_mb"], other["seconds"], other["peak_mb"])
        rows.append([name, *(_figure(f, 1 if n % 2 == 0 else 0) for n, f in enumerate(figures))])
    both = (fast["seconds"], fast["peak_mb"], plain["seconds"], plain["peak_mb"])
    rows.append(["all", *(_figure(f, 1 if n % 2 == 0 else 0) for n, f in enumerate(both))])
    rate = one["slices"] / fast["seconds"]
    lines = [
        *table(rows),
        f"{rate:.1f} slices/s; {median(one['ratios']):.2f} times as fast as the plain loop; "
        f"Dice between both {one['dice']:.4f}, {one['fast_ml']:.1f} and {one['plain_ml']:.1f} mL",
    ]
    if paper := one["published_side"]:
        lines.append(
            f"{median(paper['ratios']):.2f} times as fast as a plain loop over whole frames of "
            f"{paper['side']} x {paper['side']}, the paper's; Dice between both "
            f"{paper['dice']:.4f}, {paper['plain_ml']:.1f} mL there"
        )
    return lines


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def summary(report: dict[str, Any]) -> str:
    """One line."""
    parts = [
        f"{w['model']} {median(w['ratios']):.2f} x the plain loop's speed (Dice {w['dice']:.4f})"
        for w in report["wholes"]
    ]
    return f"bench: {'; '.join(parts)}; {report['shape'][0]} slices, {report['device']}"
