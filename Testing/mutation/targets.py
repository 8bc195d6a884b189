"""Which modules are changed, and which tests (Testing/Python/test_*.py) are to notice.

The quick ones only: what lives after them may be tried again with more (``--again --tests``).
"""

_NUMBERS = ["quantify_by_hand", "quantify_places", "quantify_measure"]
_STACK = ["ct_stack"]

MODULES: dict[str, list[str]] = {
    "quantify/measure": ["quantify_by_hand", "quantify_measure"],
    "quantify/tally": ["quantify_by_hand", "quantify_measure"],
    "quantify/components": ["quantify_components", "quantify_measure"],
    "quantify/regions": ["quantify_places", "quantify_lobes"],
    "quantify/severity": ["quantify_by_hand", "quantify_measure"],
    "quantify/lobes": ["quantify_places", "quantify_lobes"],
    "quantify/histogram": ["quantify_by_hand", "quantify_measure"],
    "quantify/change": ["quantify_places", "quantify_export"],
    "quantify/build": [*_NUMBERS, "quantify_severity"],
    "quantify/grid": ["quantify_by_hand", "quantify_measure"],
    "quantify/types": [
        "quantify_by_hand",
        "quantify_places",
        "quantify_measure",
        "quantify_severity",
    ],
    "quantify/summary": ["quantify_places"],
    "quantify/export": ["quantify_places", "quantify_export", "quantify_severity"],
    "ct/grid": ["ct_limits"],
    "ct/orient": ["ct_limits", "ct_geometry"],
    "ct/box": ["ct_limits"],
    "ct/straighten": _STACK,
    "ct/dicom_spacing": _STACK,
    "ct/dicom_stack": _STACK,
    "ct/volume": ["ct_limits"],
    "ct/window": ["ct_limits", "ct_geometry"],
    "ct/values": ["ct_limits", "ct_files"],
}
