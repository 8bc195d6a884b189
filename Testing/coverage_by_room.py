"""Print how much of the package the last `dev.py test` ran: lines and branches, by room.

    python Testing/coverage_by_room.py [--files]

`--files` names the files too, the least covered first.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from coverage import Coverage
from coverage.exceptions import CoverageException

PACKAGE = "CovidLesionSegLogic"
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
Files = Mapping[str, Mapping[str, int]]


def measured() -> Files:
    """Counts of each file of the package, by its path within it."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coverage.json")
        coverage.json_report(outfile=str(path))
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    return {
        "/".join(PurePath(name).parts[PurePath(name).parts.index(PACKAGE) + 1 :]): one["summary"]
        for name, one in files.items()
    }


def by_room(files: Files) -> dict[str, list[int]]:
    """COUNTS summed over the files of each room (a folder of the package, or a file of its own)."""
    rooms: dict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for name, summary in files.items():
        room = name.partition("/")[0].removesuffix(".py")
        rooms[room] = [n + summary[key] for n, key in zip(rooms[room], COUNTS, strict=True)]
    return dict(rooms)


def row(name: str, counts: Sequence[int]) -> str:
    """A line of the table: shares covered in percent, and of how many."""
    lines, statements, ways, branches = counts
    shares = ((lines, statements), (ways, branches))
    texts = (f"{100 * a / b:6.1f} % of {b:6,}" if b else " " * 17 for a, b in shares)
    return f"{name:32} {'   '.join(texts)}".rstrip()


def table(files: Files, *, each_file: bool = False) -> str:
    """The table: rooms and their sum, and before them the files where they are wanted."""
    out = [f"{'covered by the tests':32} {'lines':>17}   {'branches':>17}"]
    if each_file:
        counts = {name: [summary[key] for key in COUNTS] for name, summary in files.items()}
        missed = {name: c[1] - c[0] + c[3] - c[2] for name, c in counts.items()}
        out += [row(name, counts[name]) for name in sorted(counts, key=lambda n: -missed[n])]
    rooms = by_room(files)
    out += [row(name, rooms[name]) for name in sorted(rooms) if rooms[name][1]]
    return "\n".join(
        [*out, row("all", [sum(column) for column in zip(*rooms.values(), strict=True)])]
    )


if __name__ == "__main__":
    try:
        print(table(measured(), each_file="--files" in sys.argv[1:]))
    except CoverageException as error:
        sys.exit(f"The coverage was not measured ({error}).")
