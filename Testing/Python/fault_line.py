"""The command line in processes of its own that something befalls.

A process that has loaded the libraries forks one for each run: the run is a process like any
other, with its own limits, signals and files, and starts in no time. Faults are functions of this
module, called in the run's process before the command line is.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000


class Ended(NamedTuple):
    """How a run ended: exit code (negative: by that signal), and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Run:
    """One run of the command line."""

    line: Line
    pid: int
    out: Path
    err: Path

    def wait(self, timeout: float = 120) -> Ended:
        """Wait for its end."""
        until = time.monotonic() + timeout
        while (code := self.line.ask(do="poll", pid=self.pid)["code"]) is None:
            if time.monotonic() > until:
                os.kill(self.pid, 9)
                raise AssertionError(f"it hangs: {self.err.read_text(errors='replace')}")
            time.sleep(0.02)
        out, err = (path.read_text("utf-8", "replace") for path in (self.out, self.err))
        return Ended(code, out, err)

    def wait_for(self, mark: Path, timeout: float = 120) -> None:
        """Wait until the run has made a file."""
        until = time.monotonic() + timeout
        while not mark.exists():
            assert time.monotonic() < until, self.err.read_text(errors="replace")
            time.sleep(0.01)

    def wait_for_text(self, text: str, timeout: float = 120) -> None:
        """Wait until the run has said something on standard output."""
        until = time.monotonic() + timeout
        while not self.out.exists() or text not in self.out.read_text("utf-8", "replace"):
            assert time.monotonic() < until, self.err.read_text(errors="replace")
            time.sleep(0.02)


class Line:
    """The process that forks the runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._runs = folder, 0
        paths = os.pathsep.join((str(ROOT), str(ROOT / "Testing" / "Python")))
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(folder / "models")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            cwd=folder,
        )

    def ask(self, **message: Any) -> dict[str, Any]:
        """One question to the process."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(message) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer

    def start(
        self,
        *arguments: object,
        faults: dict[str, Any] | None = None,
        stdin: str = os.devnull,
        **environment: str,
    ) -> Run:
        """Start a run: arguments of the command line, faults by name with their argument."""
        self._runs += 1
        out, err = (self.folder / f"{self._runs}.{kind}" for kind in ("out", "err"))
        pid = self.ask(
            do="start",
            arguments=[os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments],
            faults=faults or {},
            environment=environment,
            stdin=stdin,
            out=str(out),
            err=str(err),
        )["pid"]
        return Run(self, pid, out, err)

    def run(self, *arguments: object, **more: Any) -> Ended:
        """Start a run and wait for its end."""
        return self.start(*arguments, **more).wait()

    def close(self) -> None:
        """End the process."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)


# --- faults, in the process of the run ----------------------------------------------------------


def file_size(most: int) -> None:
    """No file may be larger: what a writer meets when the disk or a quota is full."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def memory(more: int) -> None:
    """No more than so many bytes besides those in use."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def when_computing(act: list[Any]) -> None:
    """Do ``act``, the name of a deed and its arguments, in each pass of the network."""
    import tiny_model

    forward = tiny_model.TinyNet.predict_logits

    def acting(self: Any, x: Any) -> Any:
        DEEDS[act[0]](*act[1:])
        return forward(self, x)

    tiny_model.TinyNet.predict_logits = acting  # type: ignore[method-assign]


def when_writing(act: list[Any]) -> None:
    """Do ``act`` when the first files of the result are written."""
    from CovidLesionSegLogic.outputs import write

    image = write.write_image

    def acting(*args: Any) -> Any:
        path = image(*args)
        DEEDS[act[0]](*act[1:])
        return path

    write.write_image = acting


def when_moving(act: list[Any]) -> None:
    """Do ``act`` before each step that puts the files into their place."""
    replace = os.replace

    def acting(source: Any, target: Any) -> None:
        if Path(target).parent.name != "new":  # else it is a file that was just written
            DEEDS[act[0]](*act[1:])
        replace(source, target)

    os.replace = acting  # type: ignore[assignment]


def clock(offset: float) -> None:
    """The clock goes wrong by so many seconds."""
    import datetime

    from CovidLesionSegLogic.pipeline import provenance

    real = time.time
    time.time = lambda: real() + offset
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)
    provenance.now = lambda: now.isoformat(timespec="seconds")


def clock_runs_back(step: float) -> None:
    """With each look at it the clock is so many seconds earlier."""
    began = time.time()
    looks = itertools.count()
    time.time = lambda: began - step * next(looks)


def no_network(report: str) -> None:
    """A network without anything, where the system lets us; attempts to use one are noted."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET)

    def hook(event: str, args: Any) -> None:
        if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
            with open(report, "a", encoding="utf-8") as file:
                file.write(f"{event} {args!r}\n")

    sys.addaudithook(hook)


def no_temporary(nowhere: str) -> None:
    """There is no folder for temporary files but ``nowhere``."""
    import tempfile

    tempfile.tempdir = None
    tempfile._candidate_tempdir_list = lambda: [nowhere]  # type: ignore[attr-defined]


def stream(what: list[str]) -> None:
    """Standard output or error goes to a file of the system: [stdout or stderr, path]."""
    target = os.open(what[1], os.O_WRONLY)
    os.dup2(target, {"stdout": 1, "stderr": 2}[what[0]])


def cut_writers(told: list[str]) -> None:
    """Write an image where files may have at most so many bytes; what came of it: [report, suffix].

    A limit of this process: its last act.
    """
    import resource

    import numpy as np

    from CovidLesionSegLogic.ct import CTVolume, read_ct, write_image
    from CovidLesionSegLogic.errors import RequestError

    report, suffix = told
    hu = np.random.default_rng(0).integers(-1000, 100, (4, 24, 24)).astype(np.int16)
    folder = Path(f"{report}-files")
    folder.mkdir()
    path = folder / f"image{suffix}"
    grid = CTVolume(hu, spacing=(2.0, 2.0, 5.0))
    size = write_image(hu, grid, path).stat().st_size
    outcomes = []
    for most in sorted({0, 1, 10, 348, 352, 400, size - 1, size - 8, size, *range(0, size, 600)}):
        path.unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        try:
            write_image(hu, grid, path)
            end = "written"
        except RequestError:
            end = "RequestError"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        whole = path.exists() and np.array_equal(read_ct(path).array, hu)
        left = sorted(one.name for one in folder.iterdir())
        outcomes.append({"most": most, "end": end, "whole": whole, "left": left})
    Path(report).write_text(json.dumps(outcomes))


def _mark(path: str, seconds: float = 0.0) -> None:
    Path(path).touch()
    time.sleep(seconds)


def _gone(folder: str) -> None:
    import shutil

    shutil.rmtree(folder)


def _raised(words: str) -> None:
    raise RuntimeError(words)


def listening(pid: int) -> list[str]:
    """Local addresses at which a process listens: its sockets, and the system's table of them."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(os.readlink(link))
    found = []
    for kind, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        table = Path(f"/proc/{pid}/net/{kind}")
        for row in table.read_text().splitlines()[1:] if table.exists() else ():
            words = row.split()
            if words[3] == state and f"socket:[{words[9]}]" in own:
                found.append(f"{kind} {words[1]}")
    return found


def _sockets(report: str) -> None:
    with open(report, "a", encoding="utf-8") as file:
        file.write(json.dumps(listening(os.getpid())) + "\n")


_times = {"killed": 0}


def _killed(step: int) -> None:
    """End this process at the ``step``-th time."""
    _times["killed"] += 1
    if _times["killed"] == step:
        os.kill(os.getpid(), 9)


DEEDS = {
    "mark": _mark,
    "sleep": time.sleep,
    "gone": _gone,
    "raised": _raised,
    "killed": _killed,
    "sockets": _sockets,
}
FAULTS = {
    f.__name__: f
    for f in (
        file_size,
        memory,
        when_computing,
        when_writing,
        when_moving,
        clock,
        clock_runs_back,
        no_network,
        no_temporary,
        stream,
        cut_writers,
    )
}


# --- the process that forks ---------------------------------------------------------------------


def _child(told: dict[str, Any]) -> int:
    from CovidLesionSegLogic import cli

    os.dup2(os.open(told["stdin"], os.O_RDONLY), 0)
    for number, path in ((1, told["out"]), (2, told["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.environ.update(told["environment"])
    try:
        for name, value in told["faults"].items():
            FAULTS[name](value)
        code = cli.main(told["arguments"])
        sys.stdout.flush()
        return code
    except BaseException:  # noqa: BLE001 - told, and another run's fork goes on
        traceback.print_exc()
        return 99


def _requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _serve(models: Path) -> None:
    import pytest
    import scipy.ndimage  # noqa: F401
    import SimpleITK  # noqa: F401
    import tiny_model
    import torch

    import CovidLesionSegLogic.ct.read
    import CovidLesionSegLogic.outputs
    import CovidLesionSegLogic.pipeline.segment  # noqa: F401

    torch.set_num_threads(1)
    models.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        tiny_model.install(models, patch)
        for told in _requests():
            if told["do"] == "start":
                sys.stdout.flush()
                pid = os.fork()
                if pid == 0:
                    os._exit(_child(told))
                answer = {"pid": pid}
            else:
                done, status = os.waitpid(told["pid"], os.WNOHANG)
                answer = {"code": os.waitstatus_to_exitcode(status) if done else None}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
