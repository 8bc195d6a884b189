#!/usr/bin/env python3
"""Hostile input for every reader: valid files, changed at random, each in a process with limits.

    python Testing/fuzz/readers.py [--seconds 60] [--seed 0] [--only KIND] [--keep FOLDER]
    python Testing/fuzz/readers.py --replay FOLDER...

See README.md beside this file. Exit code 1 where there was a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"):
    os.environ[_name] = "1"
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parent / "Python")]

import mutate_dicom  # noqa: E402
import mutate_volume  # noqa: E402
from child import Limits, run  # noqa: E402
from mutate_bytes import any_bytes  # noqa: E402
from seeds import write_seeds  # noqa: E402
from target import FINDING, Verdict  # noqa: E402

KEEP_OF_EACH = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="seeds whose names begin so, such as dicom-rle")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--timeout", type=int, default=20, help="CPU seconds of one input")
    parser.add_argument("--memory", type=int, default=1024, help="MiB of one input")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FOLDER")
    args = parser.parse_args()
    _preload()
    limits = Limits(args.timeout, args.memory)
    if args.replay:
        return max(_replay(folder, limits) for folder in args.replay)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        return _fuzz(args, limits, Path(scratch))


def _preload() -> None:
    """What every input needs, once; ITK must not run here: its threads would not be forked."""
    import pydicom.pixels
    import scipy.ndimage
    import SimpleITK  # noqa: F401

    del pydicom, scipy


def _seeds(scratch: Path) -> dict[str, dict[str, bytes]]:
    """Files by seed; written by another process, for writing starts ITK's threads."""
    root = scratch / "seeds"
    child = os.fork()
    if child == 0:
        try:
            root.mkdir()
            write_seeds(root)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit("the seeds could not be written")
    return {
        folder.name: {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
        for folder in sorted(root.iterdir())
    }


def _fuzz(args: argparse.Namespace, limits: Limits, scratch: Path) -> int:
    seeds = {name: f for name, f in _seeds(scratch).items() if name.startswith(args.only)}
    for name, files in seeds.items():
        verdict, _ = _try(name, files, limits, scratch)
        if verdict.outcome != "read":
            raise SystemExit(f"the seed {name} itself is not read: {verdict}")
    chance = random.Random(args.seed)
    others = [data for files in seeds.values() for data in files.values()]
    counts: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    cpu = 0.0
    until = time.monotonic() + args.seconds
    while time.monotonic() < until:
        name = chance.choice(list(seeds))
        files = _mutated(name, seeds[name], chance, others)
        verdict, used = _try(name, files, limits, scratch)
        cpu += used
        counts[name.partition("-")[0], verdict.outcome] += 1
        if verdict.outcome == FINDING:
            kinds[verdict.kind] += 1
            if kinds[verdict.kind] <= KEEP_OF_EACH:
                _keep(args.keep, f"{args.seed}-{sum(counts.values())}", name, files, verdict)
        else:
            refusals[_sentence(verdict.message)] += verdict.outcome == "refused"
    _tell(counts, kinds, len(refusals), cpu)
    return 1 if kinds else 0


def _sentence(message: str) -> str:
    """The kind of a refusal: its words without paths and numbers."""
    return " ".join(word for word in message.split() if word.isalpha())[:60]


def _mutated(
    name: str, files: dict[str, bytes], chance: random.Random, others: list[bytes]
) -> dict[str, bytes]:
    """One to four changes: of the structure mostly, of bytes else; in DICOM, files also vanish."""
    changed = dict(files)
    kind = name.partition("-")[0]
    every = kind == "dicom" and chance.random() < 0.5  # the same change in every slice
    for _ in range(1 + int(chance.expovariate(1.2)) % 4):
        state = chance.getrandbits(64)
        for target in list(changed) if every else [chance.choice(list(changed))]:
            own = random.Random(state)
            changed[target] = _one_change(kind, target, changed[target], own, others)
    if kind == "dicom" and len(changed) > 1 and chance.random() < 0.05:
        one, other = chance.sample(list(changed), 2)
        changed[one] = changed[other]
    return changed


def _one_change(
    kind: str, target: str, data: bytes, chance: random.Random, others: list[bytes]
) -> bytes:
    blind = chance.random() < (0.2 if kind == "dicom" else 0.3)
    if blind or kind == "table" or target.endswith((".raw", ".zraw")):
        return any_bytes(data, chance, others)
    if kind == "dicom":
        return mutate_dicom.mutate(data, chance)
    return mutate_volume.mutate(data, target, chance, others)


def _try(
    name: str, files: dict[str, bytes], limits: Limits, scratch: Path
) -> tuple[Verdict, float]:
    folder = scratch / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return run(name.partition("-")[0], folder, limits)


def _keep(root: Path, number: str, name: str, files: dict[str, bytes], verdict: Verdict) -> None:
    folder = root / f"{number}-{name}"
    (folder / "files").mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / "files" / file).write_bytes(data)
    about = {"kind": name.partition("-")[0], "finding": verdict.kind, "message": verdict.message}
    (folder / "finding.json").write_text(json.dumps(about, indent=1) + "\n")
    print(f"finding: {verdict.kind} ({folder})", flush=True)


def _replay(folder: Path, limits: Limits) -> int:
    about = json.loads((folder / "finding.json").read_text())
    verdict, cpu = run(about["kind"], folder / "files", limits)
    print(f"{folder}: {verdict.outcome} {verdict.kind} ({cpu:.1f} s)\n{verdict.message}")
    return 1 if verdict.outcome == FINDING else 0


def _tell(
    counts: Counter[tuple[str, str]], kinds: Counter[str], sentences: int, cpu: float
) -> None:
    print(f"{'':10}{'tried':>9}{'read':>9}{'refused':>9}{'findings':>9}")
    for name in sorted({name for name, _ in counts}):
        row = [counts[name, outcome] for outcome in ("read", "refused", FINDING)]
        print(f"{name:10}{sum(row):9}" + "".join(f"{n:9}" for n in row))
    print(
        f"{sum(counts.values())} executions, {cpu:.0f} s of CPU, {sentences} different refusals, "
        f"{sum(kinds.values())} findings"
    )
    for kind, count in kinds.most_common():
        print(f"  {count} x {kind}")


if __name__ == "__main__":
    sys.exit(main())
