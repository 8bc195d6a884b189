"""What ``batch`` tells a person, or a program, of its studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from CovidLesionSegLogic.cli.progress import Reporter

if TYPE_CHECKING:
    from CovidLesionSegLogic.batch.outcome import Outcome
    from CovidLesionSegLogic.batch.run import Batch
    from CovidLesionSegLogic.batch.study import Study


def tell_plan(batch: Batch, reporter: Reporter) -> None:
    """How much there is to do."""
    kept = f", {len(batch.kept)} of them done before" if batch.kept else ""
    left = f"; {len(batch.left_out)} left out (listed in the summary)" if batch.left_out else ""
    studies = "1 study" if batch.planned == 1 else f"{batch.planned} studies"
    reporter.line(f"{studies}{kept}{left}.")


def tell_list(batch: Batch, reporter: Reporter) -> None:
    """Every study and everything that is left out, a line each."""
    kept = [outcome.study for outcome in batch.kept]
    for study in sorted([*batch.todo, *kept], key=lambda s: s.name.casefold()):
        done = any(one is study for one in kept)
        where = "" if batch.settings.pseudonymise else f": {_place(study)}"
        reporter.line(f"{'done' if done else 'to do'}  {study.name}{where}")
    for one in batch.left_out:
        reporter.line(f"left out  {one.kind} {one.what}: {one.why}")
    reporter.done({})


def _place(study: Study) -> str:
    from CovidLesionSegLogic.batch.privacy import hide_names

    about = [study.about] if study.about else []
    about += [f"{len(study.files)} files"] if study.files else []
    about += [f"series {study.series_uid}"] if study.series_uid else []
    details = f" ({', '.join(about)})" if about else ""
    place = str(study.path) if study.remote is None else study.remote.address
    return hide_names(place + details, study.name_words)


class Told:
    """Tells a person, or a program, how the studies get on."""

    def __init__(self, batch: Batch, reporter: Reporter) -> None:
        self._batch, self._reporter = batch, reporter
        self._ended = 0
        self._at: dict[str, tuple[str, int, int]] = {}

    def progress(self, study: Study, stage: str, done: int, total: int) -> None:
        """A study is so far."""
        self._at[study.name] = (stage, done, total)
        self._tell()

    def outcome(self, outcome: Outcome) -> None:
        """A study has come to its end."""
        from CovidLesionSegLogic.batch.outcome import FAILED, KEPT
        from CovidLesionSegLogic.report.text import percent, volume

        self._ended += 1
        self._at.pop(outcome.study.name, None)
        record = outcome.record
        if outcome.status == FAILED:
            text = outcome.reason
        elif record is not None:
            numbers = record.numbers
            text = f"{volume(numbers['total_ml'])} mL, {percent(numbers['total_percent'])} of lung"
            text += f", {record.seconds:.0f} s"
        if outcome.status != KEPT:
            number = f"[{self._ended}/{self._batch.planned}]"
            self._reporter.study(outcome.study.name, outcome.status, text, number)
        self._tell()

    def close(self) -> None:
        """No more comes."""
        self._reporter.close()

    def _tell(self) -> None:
        self._reporter.progress("studies", self._ended, self._batch.planned, at=self._at)
