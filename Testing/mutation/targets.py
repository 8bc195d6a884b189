"""Which modules are changed, and which tests (Testing/Python/test_*.py) are to notice."""

_QUANTIFY = ["quantify_by_hand", "quantify_measure", "quantify_export", "quantify_lobes", "quantify_severity"]
_GEOMETRY = ["ct_limits", "ct_geometry", "ct_series", "ct_files"]
_SERIES = ["ct_stack", "ct_series", "ct_dicom"]

MODULES: dict[str, list[str]] = {
    "quantify/measure": _QUANTIFY,
    "quantify/tally": [*_QUANTIFY, "quantify_components"],
    "quantify/components": ["quantify_components", "quantify_measure"],
    "quantify/regions": ["quantify_lobes", "quantify_severity", "quantify_measure"],
    "quantify/severity": _QUANTIFY,
    "quantify/lobes": ["quantify_lobes", "quantify_severity"],
    "quantify/histogram": ["quantify_by_hand", "quantify_measure"],
    "quantify/change": ["quantify_measure", "quantify_export"],
    "quantify/build": _QUANTIFY,
    "quantify/grid": _QUANTIFY,
    "quantify/types": [*_QUANTIFY, "report_severity"],
    "quantify/summary": ["quantify_export"],
    "quantify/export": ["quantify_export", "quantify_severity", "quantify_measure"],
    "ct/grid": _GEOMETRY,
    "ct/orient": _GEOMETRY,
    "ct/box": ["ct_limits", "batch_exchange"],
    "ct/straighten": _SERIES,
    "ct/dicom_spacing": _SERIES,
    "ct/dicom_stack": _SERIES,
    "ct/volume": _GEOMETRY,
    "ct/window": ["ct_limits", "ct_geometry"],
    "ct/values": ["ct_limits", "ct_stack", "ct_series", "ct_files"],
}
