"""Work for the worker: hand the CT over in pieces, ask, take the answer.

Every step on Slicer's main thread takes milliseconds, so the window stays alive.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress

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
            folder.mkdir(exist_ok=True)
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
        from CovidLesionSegLogic.errors import CancelledError

        try:
            if self._cancelled:  # the answer was on its way already
                raise CancelledError
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


class SegmentRun(Run):
    """Lesions into a segmentation node; the result is a ``HandedResult``.

    :param options: plain values of ``SegmentOptions`` by name.
    :param regions: vtkMRMLSegmentationNode with lungs or lobes, or None.
    :param lungs, surfaces: as of the logic's ``process``.
    """

    do = "segment"

    def __init__(
        self,
        worker,
        inputVolume,
        outputSegmentation,
        options,
        *,
        regions=None,
        lungs=True,
        surfaces=False,
        **callbacks,
    ):
        Run.__init__(self, worker, inputVolume, **callbacks)
        self.outputSegmentation = outputSegmentation
        self.options, self.regions = dict(options), regions
        self.lungs, self.surfaces = lungs, surfaces
        self._scenes = [node.GetScene() for node in (inputVolume, outputSegmentation)]

    def fields(self, raw, folder):
        """The options, with lungs or lobes as a file."""
        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.batch import exchange

        options = dict(self.options)
        if self.regions is not None:
            grid = raw.grid()
            given = yield from mrml.given_labels(self.regions, grid)
            options[given.kind] = exchange.write_label_map(given.labels, grid, folder, given.kind)
            if given.names:
                options["region_names"] = {str(k): v for k, v in given.names.items()}
        return {"options": options}

    def take(self, told, folder):
        """Into the scene; InputError where the nodes have left it meanwhile."""
        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.batch.handed import read_result
        from CovidLesionSegLogic.errors import InputError

        nodes = (self.inputVolume, self.outputSegmentation)
        if [node.GetScene() for node in nodes] != self._scenes or None in self._scenes:
            raise InputError(
                "The CT or the segmentation was removed from the scene during the run; "
                "choose them again and repeat it."
            )
        result = read_result(told, folder, mrml.node_to_raw(self.inputVolume).grid())
        mrml.result_to_segmentation(
            result,
            node=self.outputSegmentation,
            reference=self.inputVolume,
            lungs=self.lungs,
            surfaces=self.surfaces,
        )
        if result.probability is not None:
            mrml.probability_to_nodes(result, self.outputSegmentation, self.inputVolume)
        for one in (told["labels"], told["lungs"], *(told.get("probability") or ())):
            with suppress(OSError):  # Windows keeps a file that is mapped
                (folder / one["file"]).unlink()
        return result


class MeasureRun(Run):
    """The numbers of a segmentation as it is now; the result is a ``Quantification``."""

    do = "measure"

    def __init__(self, worker, inputVolume, segmentation, **callbacks):
        Run.__init__(self, worker, inputVolume, **callbacks)
        self.segmentation = segmentation

    def fields(self, raw, folder):
        """Lesions and lungs as boxes, and the classes."""
        from dataclasses import asdict

        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.batch import exchange
        from CovidLesionSegLogic.ct.box import Placed

        classes = mrml.segmentation_classes(self.segmentation)
        labels, lungs = mrml.segmentation_to_labels(self.segmentation, raw.grid())
        yield
        return {
            "labels": exchange.write_placed(Placed.of(labels), folder / "edited.raw"),
            "lungs": None
            if lungs is None
            else exchange.write_placed(Placed.of(lungs), folder / "edited-lungs.raw"),
            "classes": [asdict(one) for one in classes],
        }

    def take(self, told, folder):
        """The numbers."""
        from CovidLesionSegLogic.quantify import Quantification

        return Quantification.from_dict(told["numbers"])


class SaveRun(MeasureRun):
    """Report and files of a segmentation as it is now; the result is paths by kind.

    :param output: folder.
    """

    do = "write"

    def __init__(self, worker, inputVolume, segmentation, output, **callbacks):
        MeasureRun.__init__(self, worker, inputVolume, segmentation, **callbacks)
        self.output = output

    def fields(self, raw, folder):
        """As for measuring, with what the run noted in the segmentation."""
        from CovidLesionSegLogic import mrml

        fields = yield from MeasureRun.fields(self, raw, folder)
        run = mrml.run_record(self.segmentation)
        return {**fields, "run": json.loads(json.dumps(run)), "output": str(self.output)}

    def take(self, told, folder):
        """Paths by kind."""
        return told["outputs"]
