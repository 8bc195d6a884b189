"""What commands that segment make of their options."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.pipeline import SegmentOptions


def requested_options(args: argparse.Namespace, **own: Any) -> SegmentOptions:
    """The options of the segmentation; ``own`` are those that one command alone has."""
    from CovidLesionSegLogic.pipeline import SegmentOptions

    return SegmentOptions(
        model=chosen_model(args.model, getattr(args, "lesion_types", False)),
        device=args.device,
        threshold=args.threshold,
        gate=args.gate,
        flips=args.flips,
        engine=args.engine,
        batch_size=args.batch_size,
        probability=args.probability,
        **own,
    )


def requested_formats(args: argparse.Namespace, reporter: Reporter) -> tuple[str, ...]:
    """The formats that will be written; says what is left out because a library is missing."""
    from CovidLesionSegLogic.outputs import check_formats, missing_notices

    formats = check_formats(args.format)
    chosen = args.format is not None
    for notice in missing_notices(formats, chosen=chosen, report=not args.no_report):
        reporter.warning(notice)
    return formats


def check_output_file(path: Path) -> None:
    """Refuse, before the work, a file that cannot be written."""
    from CovidLesionSegLogic.outputs import check_output_folder

    if os.path.isdir(path):  # unlike Path.is_dir, False for a name that cannot be
        raise RequestError(f"{path} is a folder; give the name of a file to write, FILE.json.")
    check_output_folder(path.absolute().parent)


def chosen_model(model: str | None, lesion_types: bool) -> str:
    """The model's name from ``--model`` and ``--lesion-types``; RequestError where they differ."""
    from CovidLesionSegLogic.models import DEFAULT_MODEL, LESION_TYPES_MODEL, get_card

    if not lesion_types:
        return model or DEFAULT_MODEL
    if model not in (None, LESION_TYPES_MODEL):
        raise RequestError(
            f"--lesion-types stands for --model {LESION_TYPES_MODEL}, but --model names '{model}'; "
            "leave one of them out."
        )
    try:
        get_card(LESION_TYPES_MODEL, "lesion")
    except RequestError as error:
        raise RequestError(
            f"--lesion-types needs the model '{LESION_TYPES_MODEL}', which is not installed; "
            "reinstall the extension or leave --lesion-types out ('models' lists what there is)."
        ) from error
    return LESION_TYPES_MODEL
