"""Options of ``batch`` on studies of an image archive."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLesionSegLogic.cli.progress import Reporter
from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.batch.find import Found
    from CovidLesionSegLogic.batch.place import Results
    from CovidLesionSegLogic.batch.remote import Exchange
    from CovidLesionSegLogic.engine import Cancel


def add_archive_options(parser: argparse.ArgumentParser) -> None:
    """Options on studies of an image archive."""
    group = parser.add_argument_group(
        "image archive (PACS)",
        "User and password or token come from a file or from the environment: see docs/pacs.md.",
    )
    group.add_argument(
        "--dicomweb", metavar="URL", help="archive with DICOMweb, such as https://host/dicom-web"
    )
    group.add_argument(
        "--study",
        action="append",
        default=[],
        metavar="UID",
        help="study to fetch; may be repeated",
    )
    group.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="studies to fetch, by an attribute such as StudyDate=20200301-20200331; repeated ones "
        "must all fit",
    )
    group.add_argument(
        "--store",
        action="store_true",
        help="send each result back as a DICOM Segmentation (adds --format dicom-seg)",
    )
    group.add_argument(
        "--dicomweb-credentials",
        type=Path,
        metavar="FILE",
        help="file with user and password, or token",
    )


def check_archive(args: argparse.Namespace) -> None:
    """Whether the options on an archive fit together."""
    if args.dicomweb is None:
        for name in ("study", "query", "store", "dicomweb_credentials"):
            if getattr(args, name):
                option = name.replace("_", "-")
                raise RequestError(
                    f"--{option} goes with --dicomweb URL; add that or leave it out."
                )
    elif not args.study and not args.query:
        raise RequestError("--dicomweb needs the studies to fetch: give --study or --query.")
    if args.store:
        chosen = args.format or ["nii.gz", "seg.nrrd"]
        args.format = [*chosen, *(["dicom-seg"] if "dicom-seg" not in chosen else [])]
    if args.pseudonymise and "dicom-seg" in (args.format or []):
        raise RequestError(
            "A DICOM Segmentation names the patient, so it cannot be pseudonymised: leave "
            "--pseudonymise or --store and --format dicom-seg out."
        )


def find_in_archive(
    args: argparse.Namespace, found: Found, results: Results, reporter: Reporter, cancel: Cancel
) -> Exchange | None:
    """Add the studies of an archive to those found; what goes between the batch and it."""
    if args.dicomweb is None:
        return None
    from CovidLesionSegLogic.batch.pacs import Credentials
    from CovidLesionSegLogic.batch.remote import Exchange, Source, find_remote

    def progress(stage: str, done: int, total: int) -> None:
        cancel.check()
        reporter.progress(stage, done, total)

    source = Source(args.dicomweb, Credentials.load(args.dicomweb_credentials))
    studies, remotes = find_remote(
        source, args.study, args.query, results, progress=progress, cancel=cancel
    )
    found.studies += studies
    return Exchange(
        source,
        results,
        remotes,
        store=args.store,
        pseudonymise=args.pseudonymise,
        cancel=cancel,
    )
