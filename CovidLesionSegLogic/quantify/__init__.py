"""What a segmentation amounts to: volumes, share of lung, density, slices, change over time.

>>> quantification = quantify(ct, labels, lungs, classes)              # doctest: +SKIP
>>> quantification.total.share_of_lungs_percent                        # doctest: +SKIP
12.4
"""

from .change import Change, compare
from .export import slice_rows, table_rows, write_csv, write_json
from .measure import quantify
from .types import (
    ClassMeasures,
    HuStatistics,
    LungMeasures,
    Quantification,
    RegionMeasures,
    SliceMeasures,
)

__all__ = [
    "Change",
    "ClassMeasures",
    "HuStatistics",
    "LungMeasures",
    "Quantification",
    "RegionMeasures",
    "SliceMeasures",
    "compare",
    "quantify",
    "slice_rows",
    "table_rows",
    "write_csv",
    "write_json",
]
