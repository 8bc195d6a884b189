"""The numbers as JSON and as tables that open safely in a spreadsheet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from CovidLesionSegLogic.ct.atomic import atomic_path

from .severity import SCORE_SOURCE
from .types import ClassMeasures, HuStatistics, LungMeasures, Quantification

_SURROGATES = re.compile("[\ud800-\udfff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def encodable(text: str) -> str:
    """``text`` with U+FFFD for what UTF-8 cannot hold.

    Python stands in lone surrogates for the bytes of a Linux path that are no UTF-8.
    """
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def safe_cell(value: Any) -> Any:
    """``value`` for a CSV cell: None empty, and no text a spreadsheet would run as a formula.

    Text that starts (after blanks) like a formula gets a leading apostrophe, the spreadsheet's own
    mark for text; numbers stay numbers.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = encodable(value.replace("\x00", ""))
        if text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS):
            return f"'{text}"
        return text
    return value


def table_rows(quantification: Quantification) -> list[dict[str, Any]]:
    """One row per place (whole scan, lungs, regions) and class; every row has the same keys.

    Where the regions are the five lobes, a last row "five lobes" has the sum of their scores.
    """
    rows: list[dict[str, Any]] = []
    for measures in (*quantification.classes, quantification.total):
        rows.append(
            _row(
                quantification.study,
                "whole scan",
                measures,
                volume_ml=measures.volume_ml,
                hu=measures.hu,
                components=measures.components,
                largest_component_ml=measures.largest_component_ml,
                slices=measures.slices,
            )
        )
    for lung, side in (
        (quantification.lungs, "lungs"),
        (quantification.right_lung, "right_lung"),
        (quantification.left_lung, "left_lung"),
    ):
        for measures in (*quantification.classes, quantification.total):
            rows.append(_lung_row(quantification.study, lung, side, measures))
    for region in quantification.regions:
        for measures in quantification.classes:
            rows.append(
                _row(
                    quantification.study,
                    region.name,
                    measures,
                    volume_ml=region.lesion_ml[measures.name],
                    share_percent=region.share_percent[measures.name],
                    place_volume_ml=region.volume_ml,
                    place_mean_hu=region.mean_hu,
                )
            )
        rows.append(
            _row(
                quantification.study,
                region.name,
                quantification.total,
                volume_ml=region.total_lesion_ml,
                share_percent=region.total_share_percent,
                place_volume_ml=region.volume_ml,
                place_mean_hu=region.mean_hu,
                score_0_to_5=region.score,
            )
        )
    if quantification.score_0_to_25 is not None:
        rows.append(
            _row(
                quantification.study,
                "five lobes",
                quantification.total,
                volume_ml=sum(r.total_lesion_ml for r in quantification.regions),
                place_volume_ml=sum(r.volume_ml for r in quantification.regions),
                score_0_to_25=quantification.score_0_to_25,
            )
        )
    return rows


def slice_rows(quantification: Quantification) -> list[dict[str, Any]]:
    """One row per axial slice, topmost first: position, lung and lesion areas in mm2."""
    return [
        {
            "study": quantification.study,
            "slice_from_top": s.index,
            "own_slice_index": s.own_index,
            "z_mm": s.z_mm,
            "lung_area_mm2": s.lung_area_mm2,
            "total_lesion_area_mm2": s.total_lesion_area_mm2,
            **{f"{name}_area_mm2": area for name, area in s.lesion_area_mm2.items()},
        }
        for s in quantification.slices
    ]


def write_csv(rows: Iterable[Mapping[str, Any]], path: str | PathLike[str]) -> None:
    """Write table rows as UTF-8 CSV (RFC 4180), whole or not at all.

    Columns are the keys of the first row; text cells are made safe by :func:`safe_cell`.
    """
    rows = list(rows)
    header = list(rows[0]) if rows else []
    # The byte-order mark tells a spreadsheet that the file is UTF-8.
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8-sig") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([safe_cell(name) for name in header])
        writer.writerows([safe_cell(row.get(name)) for name in header] for row in rows)


def write_json(data: Quantification | Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Write a quantification (or plain data) as UTF-8 JSON, whole or not at all.

    Text that is no Unicode (bytes of a path) is written with U+FFFD in its place.

    Raises
    ------
    ValueError
        When a number is not finite: JSON has no NaN.
    """
    plain = data.to_dict() if isinstance(data, Quantification) else dict(data)
    text = encodable(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")


def _lung_row(study: str, lung: LungMeasures, side: str, measures: ClassMeasures) -> dict[str, Any]:
    right, left = measures.right_lung_ml, measures.left_lung_ml
    volume = {"lungs": right + left, "right_lung": right, "left_lung": left}[side]
    hu = {"right_lung": measures.hu_right_lung, "left_lung": measures.hu_left_lung}.get(side)
    return _row(
        study,
        lung.name,
        measures,
        volume_ml=volume,
        share_percent=getattr(measures, f"share_of_{side}_percent"),
        hu=hu,
        place_volume_ml=lung.volume_ml,
        place_mean_hu=lung.hu.mean_hu,
    )


def _row(
    study: str,
    place: str,
    measures: ClassMeasures,
    *,
    volume_ml: float,
    share_percent: float | None = None,
    hu: HuStatistics | None = None,
    components: int | None = None,
    largest_component_ml: float | None = None,
    slices: int | None = None,
    place_volume_ml: float | None = None,
    place_mean_hu: float | None = None,
    score_0_to_5: int | None = None,
    score_0_to_25: int | None = None,
) -> dict[str, Any]:
    hu = hu or HuStatistics(None, None, None)
    return {
        "study": study,
        "place": place,
        "class": measures.name,
        "volume_ml": volume_ml,
        "share_percent": share_percent,
        "mean_hu": hu.mean_hu,
        "median_hu": hu.median_hu,
        "sd_hu": hu.sd_hu,
        "components": components,
        "largest_component_ml": largest_component_ml,
        "slices": slices,
        "place_volume_ml": place_volume_ml,
        "place_mean_hu": place_mean_hu,
        "score_0_to_5": score_0_to_5,
        "score_0_to_25": score_0_to_25,
        "score_source": None if score_0_to_5 is None and score_0_to_25 is None else SCORE_SOURCE,
    }
