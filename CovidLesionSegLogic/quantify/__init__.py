"""What a segmentation amounts to: volumes, share of lung, density, slices, change over time.

>>> quantification = quantify(ct, labels, lungs, classes)              # doctest: +SKIP
>>> quantification.total.share_of_lungs_percent                        # doctest: +SKIP
12.4
"""

from .change import Change, compare
from .export import slice_rows, table_rows, write_csv, write_json
from .lobes import LOBES, lobe_of
from .measure import quantify
from .regions import Regions, name_lobes, parse_region_names, read_regions
from .severity import SCORE_NOTE, SCORE_RULE, SCORE_SOURCE, extent_score
from .summary import COLUMNS, SummaryRow, summary_rows
from .types import (
    ClassMeasures,
    HuStatistics,
    LungMeasures,
    Quantification,
    RegionMeasures,
    SliceMeasures,
)

__all__ = [
    "COLUMNS",
    "LOBES",
    "SCORE_NOTE",
    "SCORE_RULE",
    "SCORE_SOURCE",
    "Change",
    "ClassMeasures",
    "HuStatistics",
    "LungMeasures",
    "Quantification",
    "RegionMeasures",
    "Regions",
    "SliceMeasures",
    "SummaryRow",
    "compare",
    "extent_score",
    "lobe_of",
    "name_lobes",
    "parse_region_names",
    "quantify",
    "read_regions",
    "slice_rows",
    "summary_rows",
    "table_rows",
    "write_csv",
    "write_json",
]
