"""A training run's folder, whole at any moment: a kill between two writes loses only time.

``last.pt`` is the one truth. It holds the log and says of which step the best weights are. New best
weights are written beside the old ones first, then ``last.pt``, then they take the old ones' place:
whichever of these a kill prevents, the next start can tell what belongs together.
"""

from __future__ import annotations

import contextlib
import csv
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.errors import InputError, RequestError

from .schedule import Schedule

FORMAT = 2
LAST, BEST, NEXT_BEST, LOG = "last.pt", "best.pt", "next_best.pt", "log.csv"
# How often a run saves does not change what it computes.
FREE_TO_DIFFER = ("save_every",)


class RunFolder:
    """Checkpoints and log of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, *, restart: bool = False) -> None:
        """Make the folder and take away what a killed run left half-written.

        ``restart`` takes away the whole earlier run.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(
                f"The folder {self.folder} cannot be made ({error.strerror}): choose another."
            ) from error
        names = (LAST, BEST, NEXT_BEST, LOG)
        for name in names:  # as ct.atomic_path names them
            for path in self.folder.glob(f".{'[0-9a-f]' * 12}.{name}"):
                path.unlink()
        if restart:
            # The checkpoint first: without it, nothing of the rest is believed.
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / name).unlink()

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, or None; best weights and log are made to agree with it.

        Raises
        ------
        InputError
            The checkpoint cannot be read, or the best weights it speaks of are not there.
        RequestError
            It was written by another version.
        """
        state = self._read(LAST)
        if state is None:
            for name in (BEST, NEXT_BEST, LOG):
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / name).unlink()
            return None
        if state.get("format") != FORMAT:
            raise RequestError(
                f"{self.folder / LAST} was written by another version of the program and cannot "
                "be gone on from: start over with --restart, or choose another folder."
            )
        self._settle_best(state["best_step"])
        self._write_log(state["log"])
        return state

    def save(
        self, state: Mapping[str, Any], best_weights: Mapping[str, torch.Tensor] | None
    ) -> None:
        """Write the checkpoint, and the best weights where this very step has better ones."""
        if best_weights is not None:
            best = {"network": dict(best_weights), "step": state["best_step"]}
            self._write(NEXT_BEST, best)
        # Before the checkpoint: a log that is ahead is taken back, one behind cannot be.
        self._write_log(state["log"])
        self._write(LAST, {"format": FORMAT, **state})
        if best_weights is not None:
            (self.folder / NEXT_BEST).replace(self.folder / BEST)

    def _settle_best(self, step: int | None) -> None:
        """Let ``best.pt`` be that of ``step``."""
        waiting = self._read(NEXT_BEST)
        if waiting is not None:
            if waiting["step"] == step:
                (self.folder / NEXT_BEST).replace(self.folder / BEST)
            else:
                (self.folder / NEXT_BEST).unlink()
        best = self._read(BEST)
        if (best["step"] if best else None) != step:
            raise InputError(
                f"{self.folder / BEST} is not the one that {LAST} speaks of (step {step}): put it "
                "back, or start over with --restart."
            )

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"The checkpoint {path} cannot be read ({reason[0][:160]}): start over with "
                "--restart, or choose another folder."
            ) from error
        return state

    def _write(self, name: str, state: Mapping[str, Any]) -> None:
        with atomic_path(self.folder / name) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:  # a full disk, in the words of PyTorch's writer
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise RequestError(
                    f"{self.folder / name} cannot be written ({reason[0][:160]}): free some space "
                    "or choose another output folder."
                ) from error

    def _write_log(self, rows: Sequence[Mapping[str, float]]) -> None:
        if not rows:
            with contextlib.suppress(FileNotFoundError):
                (self.folder / LOG).unlink()
            return
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        with atomic_path(self.folder / LOG) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def check_same_run(
    folder: Path, state: Mapping[str, Any], *, schedule: Schedule, record: Mapping[str, Any]
) -> None:
    """RequestError, naming what differs, where ``state`` is of another schedule or record."""
    # A run from before a field was there ran with what is now its default.
    defaults = {f.name: f.default for f in fields(Schedule) if f.default is not MISSING}
    ours = {**asdict(schedule), **record}
    theirs = {**defaults, **state["schedule"], **state["record"]}
    differing = [
        f"{name} (was {_short(theirs.get(name))}, now {_short(ours.get(name))})"
        for name in dict.fromkeys([*ours, *theirs])
        if name not in FREE_TO_DIFFER and ours.get(name) != theirs.get(name)
    ]
    if differing:
        raise RequestError(
            f"The run in {folder} differs in {'; '.join(differing)}: go on with "
            "the same options, choose another folder, or start over with --restart."
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
