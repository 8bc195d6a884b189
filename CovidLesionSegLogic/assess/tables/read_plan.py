"""From a plan file to a :class:`Plan`: everything is checked before anything is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess.tables.fields import Fields
from CovidLesionSegLogic.assess.tables.metrics import METRICS
from CovidLesionSegLogic.assess.tables.plan import (
    INITS,
    SCALES,
    SOURCES,
    DataSpec,
    Evaluation,
    Figure,
    Plan,
    Row,
    Run,
    RunSchedule,
    Table,
)
from CovidLesionSegLogic.assess.tables.shared_schedule import ScheduleDefaults, read_shared
from CovidLesionSegLogic.errors import RequestError

SHIPPED = Path(__file__).parent / "plans"
FORMAT = 1
DEFAULTS = ScheduleDefaults(
    decays=("cosine", "steps"),
    decay="cosine",
    optimiser="adamw",
    clip=0.5,
    least_clip=1e-6,
    average=0.998,
    precisions=("float32", "bfloat16"),
    precision="float32",
)
_possible: set[str] = set()
"""Descriptions of networks that were built once: several runs of a plan often share one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


def shipped_plans(prefix: str = "") -> list[str]:
    """Names of the plans that come with the program."""
    return sorted(path.stem for path in SHIPPED.glob(f"{prefix}*.json"))


def find_plan(name: str | Path) -> Plan:
    """The plan called ``name`` among the shipped ones, or in the file ``name``.

    Raises
    ------
    RequestError
        There is no such plan, or it is wrong (the message says where).
    """
    return parse_plan(read_plan_file(name, "refnet"))


def read_plan_file(name: str | Path, prefix: str) -> object:
    """Decoded JSON of a shipped plan whose name begins with ``prefix``, or of the file ``name``."""
    path = Path(name)
    if str(name) in shipped_plans(prefix):
        path = SHIPPED / f"{name}.json"
    if not path.is_file():
        known = ", ".join(shipped_plans(prefix))
        raise RequestError(f"There is no plan '{name}': give a file, or one of {known}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"The plan {path} cannot be read ({error}): give a text file."
        ) from error
    except json.JSONDecodeError as error:
        raise RequestError(f"The plan {path} is not JSON ({error}): mend it there.") from error


def parse_plan(data: object) -> Plan:
    """A plan from decoded JSON; RequestError says what is wrong and where."""
    top = Fields(data, "the plan itself")
    if top.whole("format") != FORMAT:
        raise RequestError(f"This program reads plans of format {FORMAT} only.")
    schedules = {name: _schedule(part) for name, part in top.objects("schedules", "the schedule")}
    split = _data(top.part("data", "'data'"))
    runs = {name: _run(name, part, schedules) for name, part in top.objects("runs", "the run")}
    plan = Plan(
        name=plain_name(top.text("name"), "the plan"),
        title=top.text("title"),
        paper=top.text("paper"),
        notes=top.texts("notes", []),
        data=split,
        published=top.mapping("published", {}),
        schedules=schedules,
        seeds=top.wholes("seeds"),
        runs=runs,
        tables={name: _table(name, p, runs) for name, p in top.objects("tables", "the table")},
        figures={
            name: _figure(name, p, runs) for name, p in top.objects("figures", "the figure", {})
        },
    )
    top.finish()
    folders = [job.folder for job in plan.jobs()]
    doubled = {f for f in folders if folders.count(f) > 1}
    if doubled:
        raise RequestError(f"In the plan, two runs would share the folder '{doubled.pop()}'.")
    for schedule in schedules.values():
        if schedule.choose == "best" and not split.validation_patients:
            raise RequestError(
                "In the plan, 'choose' is 'best' but 'data' sets no validation patients aside: "
                "give 'validation_patients', or choose the 'last' weights."
            )
    return plan


def plain_name(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"In the plan, {where} has the name '{name}': use letters, digits and + . _ - only."
        )
    return name


def _data(part: Fields) -> DataSpec:
    spec = DataSpec(
        folder=part.text("folder"),
        test_folder=part.text("test_folder", None),
        test_patients=part.whole("test_patients", 0),
        validation_patients=part.whole("validation_patients", 0),
        seed=part.whole("seed", 0),
    )
    part.finish()
    if (spec.test_folder is None) == (spec.test_patients == 0):
        raise RequestError("In the plan, 'data' must have either 'test_patients' or 'test_folder'.")
    return spec


def _schedule(part: Fields) -> RunSchedule:
    schedule = RunSchedule(
        steps=part.whole("steps", least=1),
        scales=part.choice("scales", SCALES),
        sampling=part.choice("sampling", ("mixture", "epochs"), "mixture"),
        validate_every=part.whole("validate_every", 500, least=1),
        **read_shared(part, DEFAULTS),
    )
    part.finish()
    return schedule


def _run(name: str, part: Fields, schedules: Mapping[str, RunSchedule]) -> Run:
    run = Run(
        name=plain_name(name, "a run"),
        network=part.mapping("network"),
        init=part.choice("init", INITS, "random"),
        weights=part.text("weights", None),
        data=_mixture(part),
        slices=part.text("slices", None),
        augmentation=part.flag("augmentation", True),
        schedule=part.choice("schedule", schedules),
    )
    part.finish()
    if (run.init == "weights") != (run.weights is not None):
        raise RequestError(
            f"In the plan, {part.where} must name its 'weights' if, and only if, 'init' is "
            "'weights'."
        )
    check_network(run.network, part.where)
    return run


def _mixture(part: Fields) -> dict[str, float]:
    mixture = part.mapping("data", {"sirm100": 1.0})
    slices = part.text("slices", None)
    for source, share in mixture.items():
        if source not in SOURCES and slices is None:
            raise RequestError(
                f"In the plan, {part.where} trains on '{source}', which is no source: choose "
                f"{', '.join(SOURCES)}, or name a file of further 'slices'."
            )
        if not isinstance(share, int | float) or isinstance(share, bool) or share <= 0:
            raise RequestError(
                f"In the plan, the share of '{source}' in {part.where} must be above 0."
            )
    if "sirm100" not in mixture:
        raise RequestError(f"In the plan, {part.where} must train on 'sirm100' too.")
    return {source: float(share) for source, share in mixture.items()}


def check_network(spec: Mapping[str, Any], where: str) -> None:
    """RequestError where the network is unknown or its options cannot be."""
    import torch

    from CovidLesionSegLogic.assess.tables.build import build, known_networks

    if spec.get("network") not in known_networks():
        raise RequestError(
            f"In the plan, {where} has the unknown network '{spec.get('network')}'; known: "
            f"{', '.join(known_networks())}."
        )
    key = json.dumps(spec, sort_keys=True)
    if key in _possible:
        return
    try:
        with torch.device("meta"):  # shapes only: no memory, little time
            build(spec)
    except (TypeError, ValueError, KeyError) as error:
        raise RequestError(f"In the plan, the network of {where} cannot be ({error}).") from error
    _possible.add(key)


def _table(name: str, part: Fields, runs: Mapping[str, Run]) -> Table:
    columns = part.texts("columns", list(METRICS)[:6])
    for column in columns:
        if column not in METRICS:
            raise RequestError(
                f"In the plan, {part.where} has the unknown column '{column}'; known: "
                f"{', '.join(METRICS)}."
            )
    headings = part.texts("headings")
    rows = tuple(_row(row, headings, columns, runs) for row in part.rows("rows"))
    reference = part.whole("reference") if part.has("reference") else None
    if not rows or (reference is not None and reference >= len(rows)):
        raise RequestError(
            f"In the plan, {part.where} has no row for its 'reference' (0 is first)."
        )
    table = Table(
        id=plain_name(name, "a table"),
        title=part.text("title"),
        headings=headings,
        columns=columns,
        reference=reference,
        rows=rows,
        footnotes=part.texts("footnotes", []),
    )
    part.finish()
    return table


def _row(
    part: Fields, headings: tuple[str, ...], columns: tuple[str, ...], runs: Mapping[str, Run]
) -> Row:
    label, run = part.texts("label"), part.text("run")
    if run not in runs:
        raise RequestError(f"In the plan, {part.where} names the unknown run '{run}'.")
    if len(label) != len(headings):
        raise RequestError(f"In the plan, {part.where} needs {len(headings)} texts in 'label'.")
    judged = part.part("evaluation", f"'evaluation' of {part.where}", {})
    evaluation = Evaluation(judged.flag("average", True), judged.flag("flips", False))
    judged.finish()
    paper, bold = part.mapping("paper", {}), part.texts("bold", [])
    for column in paper:
        if column not in columns:
            raise RequestError(
                f"In the plan, {part.where} quotes '{column}', which the table does not have."
            )
    for column in bold:
        if column not in paper:
            raise RequestError(
                f"In the plan, 'bold' has '{column}' of {part.where}, which quotes no such number."
            )
    for column, printed in paper.items():
        if not isinstance(printed, str) or not re.match(r"\d", printed):
            raise RequestError(
                f"In the plan, '{column}' of {part.where} must be the number as printed, a text."
            )
    part.finish()
    return Row(label, run, evaluation, paper, bold)


def _figure(name: str, part: Fields, runs: Mapping[str, Run]) -> Figure:
    series = []
    for one in part.rows("series"):
        label, run = one.text("label"), one.text("run")
        if run not in runs:
            raise RequestError(f"In the plan, {one.where} names the unknown run '{run}'.")
        one.finish()
        series.append((label, run))
    figure = Figure(
        id=plain_name(name, "a figure"),
        title=part.text("title"),
        kind=part.choice("kind", ("curves", "pictures")),
        series=tuple(series),
        images=part.whole("images", 5, least=1),
    )
    part.finish()
    return figure
