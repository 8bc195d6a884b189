"""The child process that computes, kept from one Apply to the next, on Qt's own process class.

QProcess tells of answers through Qt's event loop, so the window stays alive and no thread is
needed; a script without an event loop waits in :meth:`WorkerProcess.waitWhile`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from slicer.i18n import tr as _

PREFIX = "CovidLesionSeg-"
LEFTOVER_S = 24 * 3600
LAST_LINES = 20  # of what the worker wrote to standard error, for the log


def pythonProgram() -> str:
    """Slicer's Python interpreter with its environment; outside Slicer the one that runs."""
    return shutil.which("PythonSlicer") or sys.executable


def removeLeftovers() -> None:
    """Take away exchange folders that nobody could remove, after a fall of the whole computer say.

    A day without a change is the sign; a living worker whose folder this takes makes it again.
    """
    before = time.time() - LEFTOVER_S
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


class WorkerProcess:
    """One worker: ``session`` takes requests; ``root`` is its private exchange folder.

    :param package: folder that holds the package CovidLesionSegLogic.
    :param program: Python interpreter.
    """

    def __init__(self, package: Path, program: str | None = None) -> None:
        import qt

        from CovidLesionSegLogic.batch.session import Session

        removeLeftovers()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX))  # for this user's eyes only
        self.runs = 0
        """That go on with it."""
        self._errors: list[str] = []
        self._rest = b""
        self._expected = False  # the end, because it was asked for
        self._over = False
        self.process = qt.QProcess()
        self.session = Session(self.process.write)
        environment = qt.QProcessEnvironment.systemEnvironment()
        paths = (str(package), environment.value("PYTHONPATH", ""))
        environment.insert("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        environment.insert("PYTHONIOENCODING", "utf-8")
        self.process.setProcessEnvironment(environment)
        self.process.connect("readyReadStandardOutput()", self._onOutput)
        self.process.connect("readyReadStandardError()", self._onError)
        self.process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self.process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        arguments = ["-m", "CovidLesionSegLogic", "worker", "--exchange", str(self.root)]
        self.process.start(program or pythonProgram(), arguments)

    @property
    def alive(self) -> bool:
        """Whether it can take requests."""
        import qt

        return not self._over and self.process.state() != qt.QProcess.NotRunning

    def tidy(self) -> None:
        """Remove the CTs of earlier runs, each as large as in memory; none may be going on."""
        for folder in self.root.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def kill(self) -> None:
        """End it now; who waits for an answer is told that the run was cancelled.

        The launcher of Slicer's Python is a process of its own on some systems: the worker behind
        it ends because its standard input closes.
        """
        self._expected = True
        self.process.closeWriteChannel()
        self.process.kill()
        self._end()

    def close(self) -> None:
        """End it and take its folder away."""
        import qt

        if self.alive:
            self.kill()
        if self.process.state() != qt.QProcess.NotRunning:
            self.process.waitForFinished(1000)
        shutil.rmtree(self.root, ignore_errors=True)

    def waitWhile(self, condition) -> None:
        """Take answers until ``condition()`` is false or the process is gone; blocks."""
        while condition() and self.alive:
            self.process.waitForReadyRead(50)
            self._onOutput()
            if not self.alive:
                self._onFinished()

    def _onOutput(self) -> None:
        data = bytes(self.process.readAllStandardOutput().data())
        if data:
            self.session.received(data)

    def _onError(self) -> None:
        data = self._rest + bytes(self.process.readAllStandardError().data())
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                logging.debug("CovidLesionSeg worker: %s", text)
                self._errors = [*self._errors, text][-LAST_LINES:]

    def _onFinished(self, code=None, status=None) -> None:
        if self._over:  # killed; Windows kept what it read until now
            shutil.rmtree(self.root, ignore_errors=True)
            return
        self._onOutput()
        self._onError()
        self._end()

    def _onProcessError(self, error=None) -> None:
        import qt

        if self.process.state() == qt.QProcess.NotRunning:
            self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        shutil.rmtree(self.root, ignore_errors=True)
        if self._expected:
            self.session.drop()
            return
        if self._errors:
            logging.warning("CovidLesionSeg: the worker's last words:\n%s", "\n".join(self._errors))
        self.session.ended(self._why())

    def _why(self) -> str:
        import qt

        if self.process.error() == qt.QProcess.FailedToStart:
            return _(
                "The program that computes could not be started ({program}); reinstall Slicer or "
                "the extension."
            ).format(program=self.process.program())
        text = "\n".join(self._errors).lower()
        if "no module named" in text or "importerror" in text:
            return _(
                "The program that computes lacks a Python package ({reason}); press Apply to "
                "install what is missing."
            ).format(reason=self._errors[-1])
        return _(
            "The computation ended unexpectedly, most likely because memory ran out: close other "
            "programs or choose another device, then press Apply again."
        )
