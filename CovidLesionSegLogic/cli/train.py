"""``train``: a lesion model from the user's own slices or volumes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.cli.parsing import (
    Parser,
    add_device_option,
    add_progress_option,
    ranged,
)
from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.cli.signals import cancel_on_signals

EPILOG = """\
examples:
  covid-lesion-seg train --images images --masks masks -o my_model
  covid-lesion-seg train --images images --masks masks --patient '^(p[0-9]+)_' -o my_model
  covid-lesion-seg train --ct 'data/*_ct.nii.gz' --lesion 'data/*_lesion.nii.gz' -o my_model
  covid-lesion-seg train --network coarse-refine --gate --images images --masks classes \
      --classes 'ground-glass opacity,consolidation,fibrosis' -o my_model
  COVIDLESIONSEG_MODELS=my_model covid-lesion-seg segment scan.nii.gz -o out --model refnet-own

With several classes a mask holds their values, 0 for the background and 255 for lesion of unnamed
class, as an 8-bit PNG or a label volume.

Pictures are 8-bit grey, seen through a lung window, and pair with their masks by name without
suffix; volumes pair in sorted order. DIR gets NAME.json and NAME.safetensors, a model to install,
and training/: split.json (who trains, who validates), log.csv, learning_curve.png and the
checkpoints. A run that was stopped, by Ctrl-C too, goes on where it was when started again.
"""
POSITIVE = "a whole number of at least 1"


def add_parser(commands: Any) -> Parser:
    """Add the command to the subparsers."""
    parser: Parser = commands.add_parser(
        "train",
        help="train a lesion model on your own data",
        description="Train a lesion model on your own slices or CT volumes.",
        epilog=EPILOG,
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of 8-bit grey slices")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="folder of their lesion masks")
    for name, what in (
        ("--ct", "CTs: files or DICOM folders"),
        ("--lesion", "their lesion masks"),
        ("--lung", "their lung masks (default: the lungs are found)"),
    ):
        parser.add_argument(
            name, nargs="+", default=(), metavar="GLOB", help=f"{what} (quote the pattern)"
        )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="output folder"
    )
    parser.add_argument(
        "--name",
        help="name of the new model (default: refnet-own or coarse-refine-own, by network)",
    )
    _add_network_options(parser)
    _add_run_options(parser)
    add_device_option(parser)
    add_progress_option(parser)
    parser.set_defaults(run=run)
    return parser


def _add_network_options(parser: Parser) -> None:
    parser.add_argument(
        "--network",
        "--model",
        dest="network",
        choices=("refnet", "coarse-refine"),
        default="refnet",
        help="refnet: one class (default); coarse-refine: any number of lesion classes",
    )
    parser.add_argument(
        "--classes",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME,...",
        help="with coarse-refine: the lesion classes in the order of their mask values 1, 2, ..., "
        "or NAME=VALUE for each (default: one, infection)",
    )
    parser.add_argument(
        "--gate",
        action="store_true",
        help="with coarse-refine: then train the gate too, the classifier that picks the slices "
        "to be segmented",
    )
    parser.add_argument(
        "--start",
        metavar="MODEL|FILE|none",
        help="what the training starts from: an installed model (default: that called as the "
        "network, if there is one), a file with public weights of the encoder (.safetensors, "
        ".pth), or none",
    )
    parser.add_argument(
        "--encoder",
        metavar="res2net50|resnet50|seresnet34|vgg16",
        help="default: that of the model to start from, else res2net50; with coarse-refine "
        "seresnet34",
    )
    parser.add_argument(
        "--size",
        type=ranged(int, 0, 4097, "a size in pixels"),
        default=352,
        metavar="PIXELS",
        help="side of the network's input, a multiple of 32 (default: 352)",
    )


def _add_run_options(parser: Parser) -> None:
    parser.add_argument(
        "--schedule",
        choices=("cosine", "published"),
        default="cosine",
        help="cosine: AdamW, warm-up, cosine decay, averaged weights (default); published: the "
        "paper's, Adam at 1e-4, 100 epochs, batch 2, a tenth of the rate from epoch 50 on; with "
        "coarse-refine Adam at 3e-4, batch 8, up to 200 epochs with early stopping",
    )
    parser.add_argument(
        "--steps",
        type=ranged(int, 0, 10**9, POSITIVE),
        metavar="N",
        help="optimiser steps (default: 1000)",
    )
    parser.add_argument(
        "--batch-size",
        type=ranged(int, 0, 10_000, POSITIVE),
        metavar="N",
        help="slices per step (default: 4; published: 2, coarse-refine 8)",
    )
    parser.add_argument(
        "--learning-rate",
        type=ranged(float, 0, 1, "a rate between 0 and 1"),
        metavar="X",
        help="peak learning rate (default: 1e-4, coarse-refine 3e-4)",
    )
    parser.add_argument(
        "--scales",
        choices=("three", "one", "fixed"),
        help="three: each batch at 0.75, 1 and 1.25 of the size, a step each, as published for "
        "Ref-Net; one: one of these drawn for each batch (default); fixed: the size alone",
    )
    parser.add_argument(
        "--validation",
        type=ranged(float, 0, 1, "a share between 0 and 1"),
        default=0.2,
        metavar="SHARE",
        help="share of the patients kept apart for validation (default: 0.2)",
    )
    parser.add_argument(
        "--split", type=Path, metavar="FILE", help="use this split.json instead of a new split"
    )
    parser.add_argument(
        "--patient",
        metavar="REGEX",
        help="regular expression that finds the patient in a picture's name or a CT's path: its "
        "first group, or all of it (default: each picture or CT is a patient)",
    )
    parser.add_argument(
        "--seed",
        type=ranged(int, -1, 2**31, "a whole number of at least 0"),
        default=0,
        metavar="N",
        help="of split, batches and random weights (default: 0)",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--resume", action="store_true", help="go on with the run in DIR, if any (default)"
    )
    again.add_argument("--restart", action="store_true", help="forget the run in DIR")


def run(args: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command."""
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.engine.device import require_torch

    require_torch()
    from CovidLesionSegLogic.assess.trained import train_and_measure
    from CovidLesionSegLogic.learn.own import FOLDER, TrainOptions

    options = TrainOptions(
        output=args.output,
        images=args.images,
        masks=args.masks,
        ct=tuple(args.ct),
        lesion=tuple(args.lesion),
        lung=tuple(args.lung),
        network=args.network,
        classes=args.classes,
        gate=args.gate,
        start=args.start,
        encoder=args.encoder,
        name=args.name,
        schedule=args.schedule,
        steps=args.steps,
        batch_size=args.batch_size,
        size=args.size,
        learning_rate=args.learning_rate,
        scales=args.scales,
        validation=args.validation,
        seed=args.seed,
        device=args.device,
        split=args.split,
        patient=args.patient,
        restart=args.restart,
    )
    cancel = Cancel()
    with cancel_on_signals(cancel):
        card = train_and_measure(
            options, progress=reporter.progress, cancel=cancel, notice=reporter.warning
        )
    for what, figures in card.validation.items():
        if isinstance(figures, Mapping):
            _tell(reporter, card.name, what, figures)
    reporter.line("Research software, not for clinical use.")
    reporter.done(
        {
            "model": args.output / f"{card.name}.json",
            "weights": args.output / card.weights.file,
            "training": args.output / FOLDER,
        }
    )
    return 0


def _tell(reporter: Reporter, name: str, what: str, figures: Mapping[str, Any]) -> None:
    """One group of measured figures, for people."""
    reporter.line(f"{name}, {what} (patients: {figures['patients']}):")
    for key, figure in figures.items():
        if not isinstance(figure, Mapping):
            continue
        value, (low, high) = figure["value"], figure["95 % interval"]
        if value is None:
            reporter.line(f"  {key}: nothing to measure it on")
            continue
        interval = "" if low is None else f" (95 % interval {low:.3f} to {high:.3f})"
        reporter.line(f"  {key}: {value:.3f}{interval}")
