"""Change a module in small ways, and see whether its tests notice: see README.md."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
# No threads in a process that is forked.
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
os.environ["ITK_GLOBAL_DEFAULT_THREADER"] = "Platform"

import hypothesis
import pytest
from operators import Mutant, mutants_of
from patching import functions_of, patch
from targets import MODULES

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 8 << 30
LEAST_SECONDS = 5
"""CPU time that every mutant has at least; otherwise ten times what its tests take unchanged."""


class Bench:
    """A plugin of pytest: collects the tests once, then forks for every mutant."""

    def __init__(self, module: str, store: Path, jobs: int, again: bool) -> None:
        known = json.loads(store.read_text()) if store.exists() else {}
        self.store = store
        self.path = ROOT / "CovidLesionSegLogic" / f"{module}.py"
        self.name = f"CovidLesionSegLogic.{module.replace('/', '.')}"
        self.mutants = list(mutants_of(self.path))
        self.jobs = jobs
        self.found = {n.key: known[n.key] for n in self.mutants if n.key in known}
        self.due = [
            n for n in self.mutants if not again or self.found.get(n.key, "survived") == "survived"
        ]
        self.kills: Counter[int] = Counter()

    def pytest_runtestloop(self, session: Any) -> bool:
        """Instead of running the tests once."""
        if session.testsfailed:
            sys.exit("the tests cannot be collected")
        self.items = session.items
        importlib.import_module(self.name)
        if self.due:
            self.touched, self.seconds = self._baseline()
            self.functions = functions_of(self.path)
            gc.freeze()  # children share these pages
        for mutant, outcome in self._outcomes():
            self.found[mutant.key] = outcome
            self.store.write_text(json.dumps(self.found, indent=1, ensure_ascii=False))
        return True

    def _baseline(self) -> tuple[list[set[str]], list[float]]:
        """Functions of the module that each test calls, and its seconds, without any change."""
        folder = tempfile.mkdtemp(prefix="mutant-")
        told = Path(folder) / "told.json"
        child = os.fork()
        if child == 0:
            self._enter(folder)
            touched, seconds = [], []
            for index, following in pairwise([*range(len(self.items)), None]):
                calls: set[str] = set()

                def see(frame: Any, event: str, _: Any, calls: set[str] = calls) -> None:
                    if event == "call" and frame.f_code.co_filename == str(self.path):
                        calls.add(frame.f_code.co_qualname)

                began = time.process_time()
                sys.setprofile(see)
                passed = self._passes(index, following)
                sys.setprofile(None)
                if not passed:
                    told.write_text(json.dumps(self.items[index].nodeid))
                    os._exit(1)
                touched.append(sorted(calls))
                seconds.append(time.process_time() - began)
            told.write_text(json.dumps([touched, seconds]))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        read = json.loads(told.read_text())
        shutil.rmtree(folder)
        if code:
            sys.exit(f"a test fails without any change: {read}")
        return [set(calls) for calls in read[0]], read[1]

    def _enter(self, folder: str) -> None:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        self.items[0].config._tmp_path_factory._basetemp = Path(folder)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def _passes(self, index: int, following: int | None) -> bool:
        item = self.items[index]
        before = item.session.testsfailed
        after = None if following is None else self.items[following]
        item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
        return bool(item.session.testsfailed == before)

    def _tests(self, mutant: Mutant) -> list[int]:
        """Those that call the changed function, most successful first; all for a constant."""
        place = mutant.place

        def concerns(calls: set[str]) -> bool:
            return any(f"{place}.".startswith(f"{call}.") for call in calls if "<" not in call)

        numbers = range(len(self.items))
        if "." in place or place[0].islower() or place.startswith("_"):
            if place != "module" and not mutant.place[:1].isupper():
                place = place.split(".")[0]
            chosen = [n for n in numbers if place == "module" or concerns(self.touched[n])]
        else:
            chosen = list(numbers)
        return sorted(chosen, key=lambda n: (-self.kills[n], self.seconds[n]))

    def _start(self, mutant: Mutant) -> tuple[int, str]:
        folder = tempfile.mkdtemp(prefix="mutant-")
        order = self._tests(mutant)
        limit = int(max(LEAST_SECONDS, 10 * sum(self.seconds[n] for n in order))) + 1
        child = os.fork()
        if child:
            return child, folder
        code = 2  # the module can no longer be imported
        try:
            self._enter(folder)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            signal.signal(signal.SIGXCPU, signal.SIG_DFL)
            patch(self.path, self.name, mutant.source, self.functions)
            code = 0
            for index, following in pairwise([*order, None]):
                if not self._passes(index, following):
                    Path(folder, "by").write_text(str(index))
                    code = 1
                    break
        finally:
            os._exit(code)

    def _outcomes(self) -> Iterator[tuple[Mutant, str]]:
        waiting = list(reversed(self.due))
        running: dict[int, tuple[Mutant, str]] = {}
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop()
                child, folder = self._start(mutant)
                running[child] = mutant, folder
            child, status = os.wait()
            mutant, folder = running.pop(child)
            by = Path(folder, "by")
            if by.exists():
                self.kills[int(by.read_text())] += 1
            shutil.rmtree(folder, ignore_errors=True)
            late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (
                signal.SIGXCPU,
                signal.SIGKILL,
            )
            yield mutant, "timeout" if late else "killed" if status else "survived"


def test_module(module: str, args: argparse.Namespace) -> None:
    """Print the row of one module; keep what became of each mutant."""
    store = args.out / f"{module.replace('/', '-')}.json"
    bench = Bench(module, store, args.jobs, args.again)
    files = [f"Testing/Python/test_{test}.py" for test in args.tests or MODULES[module]]
    options = ["-q", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--tb=no"]
    marks = ["-o", "addopts=", "-m", "not data and not slow", "-p", "no:faulthandler"]
    began = time.monotonic()
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
        pytest.main([*options, *marks, *files], plugins=[bench])
    count = Counter(bench.found.values())
    row = [len(bench.mutants), count["killed"], count["timeout"], count["survived"]]
    left = [key for key, outcome in bench.found.items() if outcome == "survived"]
    store.with_suffix(".survived").write_text("\n".join(left))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"| `{module}` | {' | '.join(map(str, row))} |",
        f"{time.monotonic() - began:.0f} s, CPU {spent.ru_utime + spent.ru_stime:.0f} s",
        flush=True,
    )


def main() -> None:
    """One process for each module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as quantify/tally; all by default")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    parser.add_argument("--tests", nargs="*", help="such as quantify_measure, for all modules")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutation")
    args = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    args.out.mkdir(parents=True, exist_ok=True)
    hypothesis.settings.register_profile(
        "mutation",
        derandomize=True,
        max_examples=20,
        deadline=None,
        database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    hypothesis.settings.load_profile("mutation")
    print("| Module | Mutants | Killed | Timed out | Survived |\n|---|---|---|---|---|", flush=True)
    for module in args.modules or MODULES:
        child = os.fork()
        if child == 0:
            test_module(module, args)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
