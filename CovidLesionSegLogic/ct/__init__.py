"""CT volumes with their geometry: readers, writers, canonical axes, HU window."""

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.ct.dicom_series import SeriesInfo, list_series
from CovidLesionSegLogic.ct.labels import read_labels
from CovidLesionSegLogic.ct.orient import Reorientation, to_canonical
from CovidLesionSegLogic.ct.read import read_ct
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.ct.window import window
from CovidLesionSegLogic.ct.write import write_image

__all__ = [
    "CTVolume",
    "Reorientation",
    "SeriesInfo",
    "atomic_path",
    "list_series",
    "read_ct",
    "read_labels",
    "to_canonical",
    "window",
    "write_image",
]
