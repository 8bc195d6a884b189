"""Argument types and the parser, whose errors end like every other wrong request."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from CovidLesionSegLogic.errors import RequestError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises RequestError instead of ending the process."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)  # an abbreviation may become ambiguous later
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise RequestError with the way to the help text."""
        raise RequestError(f"{message} ('{self.prog} --help' shows what there is).")


def ranged(
    kind: Callable[[str], float], low: float, high: float, meaning: str
) -> Callable[[str], float]:
    """An argument type: a number between ``low`` and ``high``, both excluded."""

    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"'{text}' is not {meaning}")
        return value

    return convert


def comma_list(text: str) -> list[str]:
    """An argument type: words separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """``--model``."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="lesion model (default: refnet; 'models' lists what is installed)",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """``--device``."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:n]|mps",
        help="processor (default: auto = an NVIDIA or Apple GPU if there is one, else the CPU)",
    )


def add_flips_option(parser: argparse.ArgumentParser) -> None:
    """``--flips``."""
    parser.add_argument(
        "--flips",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="look at each slice's mirror image too and average: a little more accurate, up to "
        "twice the time (default: as the model's card says)",
    )


def add_compute_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs a network over CTs."""
    add_model_option(parser)
    add_device_option(parser)
    parser.add_argument(
        "--gate",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="segment only slices in which the model's own classifier sees signs of infection "
        "(default: on where the model has one; --no-gate segments every slice)",
    )
    parser.add_argument(
        "--threshold",
        type=ranged(float, 0, 1, "a probability between 0 and 1"),
        metavar="X",
        help="probability from which a voxel is lesion (default: as the model's card says)",
    )
    add_flips_option(parser)
    parser.add_argument(
        "--engine",
        choices=("auto", "torch", "onnxruntime"),
        default="auto",
        help="what computes on a CPU (default: auto = ONNX Runtime where it is installed and the "
        "CT has more than a few slices, else PyTorch)",
    )
    parser.add_argument(
        "--batch-size",
        type=ranged(int, 0, 10_000, "a whole number of at least 1"),
        metavar="N",
        help="slices that go through the network together (default: by device)",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Options on what is written and how progress is shown."""
    parser.add_argument(
        "--format",
        type=comma_list,
        metavar="F,...",
        help="how lesions and lungs are written: seg.nrrd (3D Slicer), nii.gz (default: these "
        "two), dicom-seg (DICOM Segmentation, where the CT is DICOM); the numbers are always "
        "written",
    )
    parser.add_argument("--probability", action="store_true", help="also write the probability map")
    parser.add_argument(
        "--no-report", action="store_true", help="leave out the overview picture and the report"
    )
    add_progress_option(parser)


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """``--progress``."""
    parser.add_argument(
        "--progress",
        choices=("text", "json", "none"),
        default="text",
        help="text: a bar on a terminal; json: one object per line on standard output, "
        "nothing else there; none (default: text)",
    )


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """``--debug``, understood before and after the command."""
    parser.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show log messages and, on an internal error, the traceback",
    )
