"""The files of one result, all of them or none.

This room stands below ``mrml`` and ``report``, whose writers it calls, and above ``cli``, which
calls it.
"""

from CovidLesionSegLogic.outputs.earlier import check_same_study
from CovidLesionSegLogic.outputs.folder import check_output_folder, staged_folder
from CovidLesionSegLogic.outputs.names import check_study_name, file_stem
from CovidLesionSegLogic.outputs.write import (
    FORMATS,
    USUAL_FORMATS,
    check_formats,
    check_source,
    missing_notices,
    write_outputs,
)

__all__ = [
    "FORMATS",
    "USUAL_FORMATS",
    "check_formats",
    "check_output_folder",
    "check_same_study",
    "check_source",
    "check_study_name",
    "file_stem",
    "missing_notices",
    "staged_folder",
    "write_outputs",
]
