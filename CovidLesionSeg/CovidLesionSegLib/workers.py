"""The worker that a panel or script keeps: started on first use, again after it was lost."""

from __future__ import annotations

from pathlib import Path

from CovidLesionSegLib.runs import MeasureRun, SaveRun, SegmentRun
from CovidLesionSegLib.workerprocess import WorkerProcess


class Workers:
    """One worker at a time; ``package`` is the folder that holds CovidLesionSegLogic."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._worker = None

    def warmUp(self, onDevices=None) -> None:
        """Import what the end of a run needs, so that the window does not wait for it then.

        :param onDevices: told later what can compute here; the worker is started to look.
        """
        import CovidLesionSegLogic.batch.handed
        import CovidLesionSegLogic.mrml
        import CovidLesionSegLogic.report.text  # noqa: F401

        if onDevices is not None:
            self.get().session.request(
                "devices",
                done=lambda told: onDevices(told["devices"]),
                failed=lambda error: None,  # the next run tells what is wrong
            )

    def get(self) -> WorkerProcess:
        """The worker that runs, or a new one."""
        if not self.running:  # one that was lost has taken its folder away itself
            self._worker = WorkerProcess(self._package)
        return self._worker

    @property
    def running(self) -> bool:
        """Whether there is one already."""
        return self._worker is not None and self._worker.alive

    def segment(self, *args, **options) -> SegmentRun:
        """A run that is not started yet, see :class:`~.runs.SegmentRun`."""
        return SegmentRun(self.get(), *args, **options)

    def measure(self, *args, **options) -> MeasureRun:
        """See :class:`~.runs.MeasureRun`."""
        return MeasureRun(self.get(), *args, **options)

    def save(self, *args, **options) -> SaveRun:
        """See :class:`~.runs.SaveRun`."""
        return SaveRun(self.get(), *args, **options)

    def close(self) -> None:
        """End the worker and take away what was handed to it."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
