"""What the worker is asked of a CT: to segment it, to measure it again, to write its files."""

from __future__ import annotations

import json
from contextlib import suppress

from CovidLesionSegLib.run import Run


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
        self.outputSegmentation = outputSegmentation
        Run.__init__(self, worker, inputVolume, **callbacks)
        self.options, self.regions = dict(options), regions
        self.lungs, self.surfaces = lungs, surfaces

    def _nodes(self):
        return [self.inputVolume, self.outputSegmentation]

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
        """Into the scene."""
        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.batch.handed import read_result

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
        self.segmentation = segmentation
        Run.__init__(self, worker, inputVolume, **callbacks)

    def _nodes(self):
        return [self.inputVolume, self.segmentation]

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
