#!/usr/bin/env python3
"""Kill batches at random instants and compare what they end with: no test, a measurement.

    python Testing/batch_kills.py INPUT... -o FOLDER [--kills 20] [--seed 0] [-- batch options]

A batch runs once undisturbed. Others are killed with SIGKILL, the parent with its workers or alone,
and started again until they come through; then they begin anew until enough were killed.
After every kill each study's folder must be whole, and every batch that came through must have
ended with the files of the undisturbed one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Python")]

from batch_case import contents  # noqa: E402


def children(parent: int) -> list[int]:
    """Process ids of a process's children."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True)
    return [int(word) for word in listed.stdout.split()]


def half_done(out: Path) -> list[str]:
    """Folders of studies that are not whole."""
    from CovidLesionSegLogic.batch.record import read_record

    folders = [f for f in out.glob("*/") if f.name != ".batch"]
    records = {folder: read_record(folder) for folder in folders}
    return [f.name for f, record in records.items() if record is None or not record.whole(f)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:cut])
    command = [sys.executable, "-m", "CovidLesionSegLogic", "batch", *args.inputs]
    command += arguments[cut + 1 :]
    chance = random.Random(args.seed)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}

    began = time.monotonic()
    whole = args.output / "whole"
    code = subprocess.run([*command, "-o", str(whole)], **quiet).returncode
    took = time.monotonic() - began
    expected = contents(whole)
    print(f"undisturbed: {took:.0f} s, exit code {code}, {len(expected)} files", flush=True)

    out = args.output / "killed"
    kills = through = wrong = 0
    while kills < args.kills or not through:
        process = subprocess.Popen([*command, "-o", str(out)], **quiet)
        # Once enough were killed, the last batch comes through.
        delay = chance.uniform(1, 0.6 * took) if kills < args.kills else None
        try:
            ended = process.wait(delay)
        except subprocess.TimeoutExpired:
            kills += 1
            finished = len(list(out.glob("*/*_batch.json")))
            whom = [process.pid, *(children(process.pid) if chance.random() < 0.5 else [])]
            for pid in whom:
                os.kill(pid, signal.SIGKILL)
            process.wait()
            bad = half_done(out) if out.exists() else []
            wrong += len(bad)
            print(
                f"kill {kills} after {delay:.1f} s, {len(whom)} processes, "
                f"{finished} studies done, not whole: {bad or 'none'}",
                flush=True,
            )
            continue
        same = contents(out) == expected and ended == code
        left = sorted(p.name for p in (out / ".batch").iterdir())
        through += 1
        wrong += not same
        print(f"came through: exit code {ended}, same files: {same}, hidden: {left}", flush=True)
        shutil.rmtree(out)
    print(f"{kills} kills, {through} batches came through, {wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
