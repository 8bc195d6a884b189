"""What is the same for all studies of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.batch.checksums import checksum
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.errors import CovidLesionSegError
from CovidLesionSegLogic.models import LUNG_MODEL, get_card
from CovidLesionSegLogic.pipeline import SegmentOptions
from CovidLesionSegLogic.quantify import parse_region_names

_NOT_SEEN_IN_RESULTS = ("device", "engine", "batch_size", "lungs", "regions", "region_names")


@dataclass(frozen=True)
class Settings:
    """How studies are segmented and what is written of each.

    Parameters
    ----------
    options
        For the segmentation; ``lungs`` and ``regions`` come from the study.
    formats
        As for :func:`~CovidLesionSegLogic.outputs.write_outputs`.
    report
        Write overview picture and report.
    allow_missing_slices
        As for :func:`~CovidLesionSegLogic.ct.read_ct`.
    pseudonymise
        Results say nothing of path, UIDs and descriptions.
    resume
        Results that are there and still valid are kept.
    """

    options: SegmentOptions = field(default_factory=SegmentOptions)
    formats: tuple[str, ...] | None = None
    report: bool = True
    allow_missing_slices: bool = False
    pseudonymise: bool = False
    resume: bool = True

    def options_for(self, study: Study) -> SegmentOptions:
        """The options with the study's own maps; the errors are those of SegmentOptions."""
        names = study.region_names
        return replace(
            self.options,
            lungs=study.lungs,
            regions=study.regions,
            region_names=parse_region_names(names) if names else None,
        )

    def requests(self) -> Callable[[Study], str]:
        """Study -> a checksum of everything but the input files that its result depends on."""
        data = self.to_dict()
        del data["resume"]
        for name in _NOT_SEEN_IN_RESULTS:
            del data["options"][name]
        card = get_card(self.options.model, "lesion").to_dict()
        lungs = get_card(LUNG_MODEL, "lungs").weights.sha256
        same = (__version__, data, card)

        def request(study: Study) -> str:
            own = lungs if study.lungs is None else ""
            # Of an archive's study the series is known only once it is fetched.
            series = study.series_uid if study.remote is None else None
            return checksum((same, own, series, study.region_names))

        return request

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        data = asdict(self)
        data["options"] = self.options.to_dict()
        data["formats"] = None if self.formats is None else list(self.formats)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """What :meth:`to_dict` wrote; KeyError or TypeError where it did not."""
        formats = data["formats"]
        own = {**data, "options": SegmentOptions(**data["options"])}
        return cls(**{**own, "formats": None if formats is None else tuple(formats)})


class StopBatchError(CovidLesionSegError):
    """What would befall every further study too, such as a full disk; exit code 2."""

    exit_code = 2
