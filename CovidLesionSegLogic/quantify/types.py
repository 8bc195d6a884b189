"""The numbers of one study. Units stand in the names: mL, mm, mm2, percent (0 to 100), HU."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from .severity import SCORE_NOTE, SCORE_RULE, SCORE_SOURCE

FORMAT = "CovidLesionSeg quantification"
FORMAT_VERSION = 1


class NamedClass(Protocol):
    """What is asked of a lesion class; a model card's ``LesionClass`` fits."""

    @property
    def name(self) -> str:
        """Name shown to people."""

    @property
    def label(self) -> int:
        """Value in the label map, 1 or more."""


@dataclass(frozen=True)
class HuStatistics:
    """Mean, median and population standard deviation in HU; None where there is no voxel."""

    mean_hu: float | None
    median_hu: float | None
    sd_hu: float | None


@dataclass(frozen=True)
class ClassMeasures:
    """One lesion class, or all together (``label`` None).

    ``volume_ml`` counts every voxel of the class; the shares count only what lies inside the lung
    they name, so that none exceeds 100. ``outside_lungs_ml`` is the rest. A share is None where
    that lung is empty. Components are 26-connected.
    """

    name: str
    label: int | None
    volume_ml: float
    right_lung_ml: float
    left_lung_ml: float
    outside_lungs_ml: float
    share_of_lungs_percent: float | None
    share_of_right_lung_percent: float | None
    share_of_left_lung_percent: float | None
    hu: HuStatistics
    hu_right_lung: HuStatistics
    hu_left_lung: HuStatistics
    components: int
    largest_component_ml: float
    slices: int


@dataclass(frozen=True)
class LungMeasures:
    """One lung or both, lesions included.

    The four aeration shares divide the lung by density alone, whatever was segmented: below -900,
    -900 to -501, -500 to -101, and from -100 HU.
    """

    name: str
    volume_ml: float
    hu: HuStatistics
    hyperaerated_percent: float | None
    well_aerated_percent: float | None
    poorly_aerated_percent: float | None
    non_aerated_percent: float | None


@dataclass(frozen=True)
class RegionMeasures:
    """One region of a given label map, a lobe for instance.

    ``lesion_ml`` and ``share_percent`` are per class name; the total goes under ``total``.
    ``score`` is the extent score 0 to 5 used for lobes, see :func:`~.severity.extent_score`.
    """

    name: str
    label: int
    volume_ml: float
    mean_hu: float | None
    lesion_ml: dict[str, float]
    share_percent: dict[str, float | None]
    total_lesion_ml: float
    total_share_percent: float | None
    score: int | None


@dataclass(frozen=True)
class SliceMeasures:
    """One axial slice; ``index`` 0 is the topmost (most superior) slice.

    ``own_index`` is the slice's index along the input's own axis (``Quantification.slice_axis``),
    ``z_mm`` the superior coordinate of its centre (the same in LPS and RAS).
    """

    index: int
    own_index: int
    z_mm: float
    lung_area_mm2: float
    lesion_area_mm2: dict[str, float]
    total_lesion_area_mm2: float


@dataclass(frozen=True)
class Quantification:
    """All numbers of one study; see the parts for their meaning and units.

    ``score_0_to_25`` is the sum of the scores of the five lobes (Pan et al., Radiology
    2020;295:715-721), None unless the regions' names say that they are the five lobes and none of
    them is empty; lobes come from the right upper to the left lower one.
    ``lesion_outside_regions_ml`` is lesion in no region; None without regions.
    """

    study: str
    classes: tuple[ClassMeasures, ...]
    total: ClassMeasures
    right_lung: LungMeasures
    left_lung: LungMeasures
    lungs: LungMeasures
    slices: tuple[SliceMeasures, ...]
    slice_axis: str
    slice_spacing_mm: float
    voxel_volume_ml: float
    regions: tuple[RegionMeasures, ...] = ()
    score_0_to_25: int | None = None
    lesion_outside_regions_ml: float | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def slices_with_lesion(self) -> tuple[int, ...]:
        """Indices, from the top, of the slices that hold lesion."""
        return tuple(s.index for s in self.slices if s.total_lesion_area_mm2 > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: finite numbers, None for "no value", units in the key names."""
        data: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
        for key, value in asdict(self).items():
            data[key] = list(value) if isinstance(value, tuple) else value
        data["slices_with_lesion"] = list(self.slices_with_lesion)
        if self.regions:
            data["score_source"] = SCORE_SOURCE
            data["score_rule"] = SCORE_RULE
            data["score_note"] = SCORE_NOTE
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Quantification:
        """The reverse of :meth:`to_dict`.

        Raises
        ------
        ValueError
            When ``data`` is not a quantification, or of a later format.
        """
        if data.get("format") != FORMAT:
            raise ValueError(f"not a quantification: its format is {data.get('format')!r}")
        if data.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"quantification format {data.get('format_version')!r} is not known; "
                f"this software reads {FORMAT_VERSION}"
            )
        try:
            return cls(
                study=str(data["study"]),
                classes=tuple(_class(c) for c in data["classes"]),
                total=_class(data["total"]),
                right_lung=_lung(data["right_lung"]),
                left_lung=_lung(data["left_lung"]),
                lungs=_lung(data["lungs"]),
                slices=tuple(SliceMeasures(**s) for s in data["slices"]),
                slice_axis=str(data["slice_axis"]),
                slice_spacing_mm=float(data["slice_spacing_mm"]),
                voxel_volume_ml=float(data["voxel_volume_ml"]),
                regions=tuple(RegionMeasures(**r) for r in data["regions"]),
                score_0_to_25=data["score_0_to_25"],
                # Not there in results of version 1.1 and before.
                lesion_outside_regions_ml=data.get("lesion_outside_regions_ml"),
                warnings=tuple(data["warnings"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the quantification is incomplete or altered: {error}") from error

    def rows(self) -> list[dict[str, Any]]:
        """The numbers as table rows, see :func:`~CovidLesionSegLogic.quantify.table_rows`."""
        from .export import table_rows

        return table_rows(self)


def _class(data: dict[str, Any]) -> ClassMeasures:
    hu = {k: HuStatistics(**data[k]) for k in ("hu", "hu_right_lung", "hu_left_lung")}
    return ClassMeasures(**{**data, **hu})


def _lung(data: dict[str, Any]) -> LungMeasures:
    return LungMeasures(**{**data, "hu": HuStatistics(**data["hu"])})
