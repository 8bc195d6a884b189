"""Where MRML lives: the running Slicer application, or a scene of our own with slicer-core.

Both are seen through :class:`Host`. Nothing else in the package asks which of the two it is.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.errors import RequestError

_lock = threading.Lock()
_standalone: Host | None = None


@dataclass(frozen=True)
class Host:
    """A MRML scene with the module logics this package needs.

    Parameters
    ----------
    scene
        The vtkMRMLScene new nodes are added to.
    logics
        "application", "colors", "volumes", "segmentations" and "terminologies" to logic objects.
    is_application
        True inside the Slicer application.
    """

    scene: Any
    logics: Mapping[str, Any]
    is_application: bool


def import_slicer() -> Any:
    """The ``slicer`` package, or RequestError saying how to get it.

    An unrelated package of the same name counts as missing.
    """
    try:
        import slicer
    except ImportError as error:
        raise RequestError(
            "Slicer segmentation files (seg.nrrd) need the MRML libraries, which are not installed "
            f"here ({error}); run 'pip install \"covid-lesion-seg[slicer]\"', or ask for label "
            "maps only with '--format nii.gz'."
        ) from error
    if not hasattr(slicer, "vtkMRMLScene"):
        raise RequestError(
            "Slicer segmentation files (seg.nrrd) need the MRML libraries, but the Python package "
            f"'slicer' installed here ({getattr(slicer, '__file__', None)}) is another one of that "
            "name; replace it by 'slicer-core', or ask for label maps only with '--format nii.gz'."
        )
    return slicer


def get_host() -> Host:
    """The running Slicer application, or a standalone scene made once per process.

    Raises RequestError where neither Slicer nor slicer-core is present.
    """
    slicer = import_slicer()
    if getattr(slicer, "app", None) is not None:
        return _application_host(slicer)
    global _standalone
    with _lock:
        if _standalone is None:
            _standalone = _standalone_host(slicer)
        return _standalone


def in_application() -> bool:
    """Whether this process is the Slicer application; imports nothing."""
    return getattr(sys.modules.get("slicer"), "app", None) is not None


def get_scene() -> Any:
    """The vtkMRMLScene of :func:`get_host`."""
    return get_host().scene


def _application_host(slicer: Any) -> Host:
    modules = slicer.modules
    logics = {
        "application": slicer.app.applicationLogic(),
        "colors": modules.colors.logic(),
        "volumes": modules.volumes.logic(),
        "segmentations": modules.segmentations.logic(),
        "terminologies": modules.terminologies.logic(),
    }
    return Host(slicer.mrmlScene, logics, is_application=True)


def _standalone_host(slicer: Any) -> Host:
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    colors = slicer.vtkMRMLColorLogic()
    # The Segmentations logic must exist before any segmentation node, or closed surfaces fail.
    modules = {
        "colors": colors,
        "volumes": slicer.vtkSlicerVolumesLogic(),
        "terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
    }
    # slicer-core ships without the default terminologies; their absence is no error here.
    with _quiet():
        for name, logic in modules.items():
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(scene)
            application.SetModuleLogic(name.capitalize(), logic)
    colors.AddDefaultColorNodes()
    _offer_to_slicer_util(slicer, scene, modules)
    # The logics refer to the application logic weakly: the host keeps it alive.
    return Host(scene, {"application": application, **modules}, is_application=False)


def _offer_to_slicer_util(slicer: Any, scene: Any, logics: Mapping[str, Any]) -> None:
    """Set ``slicer.mrmlScene`` and ``slicer.modules``, which slicer.util's functions look up.

    What a program embedding slicer-core has set itself stays as it is.
    """
    if getattr(slicer, "mrmlScene", None) is None:
        slicer.mrmlScene = scene
    if getattr(slicer, "modules", None) is None:
        slicer.modules = types.SimpleNamespace(
            **{name: _Module(logic) for name, logic in logics.items()}
        )


class _Module:
    """As much of a Slicer module as ``slicer.modules.<name>.logic()`` needs."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep VTK's messages off standard error for a moment."""
    import vtk

    verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtk.vtkLogger.SetStderrVerbosity(verbosity)
