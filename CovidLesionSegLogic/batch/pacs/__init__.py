"""Image archives (PACS) over DICOMweb: CT studies fetched, results stored (PS3.18).

Needs the extra ``pacs``; its libraries are loaded when an :class:`Archive` is made.
"""

from CovidLesionSegLogic.batch.pacs.archive import Archive, FetchedSeries
from CovidLesionSegLogic.batch.pacs.credentials import Credentials
from CovidLesionSegLogic.batch.pacs.studies import RemoteSeries, RemoteStudy, candidates

__all__ = [
    "Archive",
    "Credentials",
    "FetchedSeries",
    "RemoteSeries",
    "RemoteStudy",
    "candidates",
]
