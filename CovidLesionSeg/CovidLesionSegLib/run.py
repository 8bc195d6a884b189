"""Work for the worker: hand the CT over in pieces, ask, take the answer.

Every step on Slicer's main thread takes milliseconds, so the window stays alive.
"""

from __future__ import annotations

import time

CANCEL_MS = 800
"""So long the worker may take to heed a cancellation before it is ended."""
STEP_S = 0.02
"""Between two looks at the event loop while the CT is handed over."""


class Run:
    """A request that concerns a CT: ``start`` it, then let the event loop turn, or ``wait``.

    Subclasses say what is asked (``do``, :meth:`fields`) and what becomes of the answer
    (:meth:`take`).

    :param worker: :class:`~.workerprocess.WorkerProcess`.
    :param inputVolume: the CT.
    :param onProgress: called with (stage, done, total).
    :param onEnd: called once with (result, None), or (None, error).
    """

    do = ""

    def __init__(self, worker, inputVolume, *, onProgress=None, onEnd=None):
        self.worker, self.inputVolume = worker, inputVolume
        self.onProgress = onProgress or (lambda stage, done, total: None)
        self.onEnd = onEnd or (lambda result, error: None)
        self.result = self.error = None
        self.running = False
        self._steps = self._request = self._timer = None
        self._cancelled = False
        self._scenes = [node.GetScene() for node in self._nodes()]

    def _nodes(self):
        """Those that must stay in the scene."""
        return [self.inputVolume]

    def fields(self, raw, folder):
        """Generator: writes what is needed besides the CT, returns the fields of the request."""
        raise NotImplementedError

    def take(self, told, folder):
        """The result from the worker's answer."""
        raise NotImplementedError

    def start(self):
        """Check the CT, then hand it over step by step; raises InputError where it cannot be."""
        import qt

        from CovidLesionSegLogic import mrml

        raw = mrml.node_to_raw(self.inputVolume)
        self.running = True
        self.worker.runs += 1
        self._steps = self._handOver(raw)
        self._timer = qt.QTimer()  # at every turn of the event loop while there are steps
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._advance)
        self._timer.start()

    def _advance(self):
        """Hand over for some milliseconds; whether more is to be done."""
        from CovidLesionSegLogic.errors import CancelledError

        steps, until = self._steps, time.monotonic() + STEP_S
        if steps is None:
            return False
        try:
            while True:
                if self._cancelled:
                    raise CancelledError
                if self.worker.session.lost is not None:  # with its folder, while nobody asked
                    raise self.worker.session.lost
                next(steps)
                if time.monotonic() > until:
                    return True
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 - told to the user by whoever started the run
            self._end(None, error)
        self._steps = None
        self._timer.stop()
        return False

    def _handOver(self, raw):
        from CovidLesionSegLogic.batch import exchange

        folder = self.worker.root / self._folderName()
        if not (folder / exchange.CT_HEADER).exists():
            if self.worker.runs == 1:
                self.worker.tidy()
            folder.mkdir(parents=True, exist_ok=True)
            for done, total in exchange.write_ct(raw, folder):
                self.onProgress("handover", done, total)
                yield
        fields = yield from self.fields(raw, folder)
        self._request = self.worker.session.request(
            self.do,
            folder=folder.name,
            done=lambda told: self._onDone(told, folder),
            failed=lambda error: self._end(None, error),
            progress=self.onProgress,
            **fields,
        )

    def _folderName(self):
        """The same for the same voxels, which are then handed over once."""
        image = self.inputVolume.GetImageData()
        changed = max(image.GetMTime(), self.inputVolume.GetMTime())
        return f"{self.inputVolume.GetID()}-{changed}"

    def cancel(self):
        """Stop; ``onEnd`` is told a CancelledError within a second.

        A worker that does not heed it in time is ended.
        """
        import qt

        from CovidLesionSegLogic.errors import CancelledError

        if not self.running or self._cancelled:
            return
        self._cancelled = True
        if self._request is not None:
            self.worker.session.cancel(self._request)
            qt.QTimer.singleShot(CANCEL_MS, self._insist)
        elif not self._steps.gi_running:  # else the next step heeds it
            self._steps.close()
            self._end(None, CancelledError())

    def _insist(self):
        if self.running and self._cancelled:
            self.worker.kill()

    def wait(self, cancel=None):
        """Block until the run has ended; the result, or the error raised.

        :param cancel: CovidLesionSegLogic.engine.Cancel, looked at between the answers.
        """
        self._timer.stop()
        while self._advance():
            self._heed(cancel)
        self.worker.waitWhile(lambda: self.running and not self._heed(cancel))
        if self.running:  # cancelled
            deadline = time.monotonic() + CANCEL_MS / 1000
            self.worker.waitWhile(lambda: self.running and time.monotonic() < deadline)
            self._insist()
        if self.error is not None:
            raise self.error
        return self.result

    def _heed(self, cancel):
        if cancel is not None and cancel.cancelled():
            self.cancel()
        return self._cancelled

    def _onDone(self, told, folder):
        from CovidLesionSegLogic.errors import CancelledError, InputError

        try:
            if self._cancelled:  # the answer was on its way already
                raise CancelledError
            if [node.GetScene() for node in self._nodes()] != self._scenes or None in self._scenes:
                raise InputError(
                    "The CT or the segmentation was removed from the scene during the run; "
                    "choose them again and repeat it."
                )
            result = self.take(told, folder)
        except Exception as error:  # noqa: BLE001 - told to the user by whoever started the run
            self._end(None, error)
            return
        self._end(result, None)

    def _end(self, result, error):
        if not self.running:
            return
        self.running, self.result, self.error = False, result, error
        self.worker.runs -= 1
        self._steps = None
        self._timer.stop()
        # A slot keeps its object, and this one keeps the CT, which may leave the scene.
        self._timer.disconnect("timeout()", self._advance)
        self.onEnd(result, error)
