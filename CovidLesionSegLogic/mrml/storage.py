"""``.seg.nrrd`` files through Slicer's own storage node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.ct.itk import itk_name
from CovidLesionSegLogic.ct.write import cut_short
from CovidLesionSegLogic.ct.written import is_whole
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.mrml.host import get_scene, import_slicer
from CovidLesionSegLogic.mrml.segments import result_to_segmentation

SUFFIX = ".seg.nrrd"


def write_segmentation(node: Any, path: str | Path) -> Path:
    """Write a segmentation node as a compressed ``.seg.nrrd``, whole or not at all.

    The file covers the reference geometry (the CT's own grid), has one component per layer and
    carries names, colours, terminology and tags of the segments. The node's own storage node, and
    with it what "Save" does in Slicer, is left alone.

    Raises
    ------
    RequestError
        The name does not end in ``.seg.nrrd``, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIX):
        raise RequestError(f"A segmentation is saved as *{SUFFIX}, not as '{path.name}'.")
    storage = import_slicer().vtkMRMLSegmentationStorageNode()
    storage.SetUseCompression(True)
    with atomic_path(path) as temporary:
        storage.SetFileName(itk_name(temporary))
        if not storage.WriteData(node):
            raise RequestError(
                f"The segmentation could not be written to {path}; "
                "check that the folder exists and that the disk has room."
            )
        if not is_whole(temporary):
            raise cut_short(path)
    return path


def write_result(result: Any, path: str | Path, *, lungs: bool = True) -> Path:
    """Write a SegmentationResult as ``.seg.nrrd`` without touching the host's scene.

    Errors as in :func:`write_segmentation`; ``lungs=False`` leaves the lungs out.
    """
    get_scene()  # makes the host, whose logics register what segmentations need
    scene = import_slicer().vtkMRMLScene()
    return write_segmentation(result_to_segmentation(result, scene=scene, lungs=lungs), path)


def read_segmentation(path: str | Path, scene: Any = None) -> Any:
    """Read a ``.seg.nrrd`` into a new segmentation node named after the file.

    Raises
    ------
    InputError
        The file is missing or is not a segmentation.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError(f"The segmentation {path} does not exist; check the name.")
    _check_readable(path)
    scene = get_scene() if scene is None else scene
    name = path.name[: -len(SUFFIX)] if path.name.lower().endswith(SUFFIX) else path.stem
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    storage = import_slicer().vtkMRMLSegmentationStorageNode()
    storage.SetFileName(itk_name(path))
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        raise _unreadable(path)
    node.CreateDefaultDisplayNodes()
    return node


def _check_readable(path: Path) -> None:
    """InputError for a file that is no image or is cut short.

    Slicer's reader throws a C++ exception there, which would abort the whole process.
    """
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.SetImageIO("NrrdImageIO")
    try:
        reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"The segmentation {path} cannot be read; is it a whole Slicer segmentation ({SUFFIX})?"
    )
