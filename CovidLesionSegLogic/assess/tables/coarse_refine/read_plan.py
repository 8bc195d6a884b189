"""From a plan file to a coarse-refine :class:`Plan`, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from CovidLesionSegLogic.assess.tables.coarse_refine.plan import (
    BATCHES,
    CLASSES,
    DECAYS,
    INITS,
    KINDS,
    ROW_TABLES,
    Plan,
    Row,
    Run,
    RunSchedule,
)
from CovidLesionSegLogic.assess.tables.fields import Fields
from CovidLesionSegLogic.assess.tables.read_plan import check_network, plain_name, read_plan_file
from CovidLesionSegLogic.assess.tables.shared_schedule import ScheduleDefaults, read_shared
from CovidLesionSegLogic.errors import RequestError

FORMAT = 1
PAPER = "coarse-refine"
FOLDS = 5
LOSS_PARTS = ("bce", "ssim", "iou")
MOST_CLASSES = 254
DEFAULTS = ScheduleDefaults(
    decays=DECAYS,
    decay="constant",
    optimiser="adam",
    clip=0,
    least_clip=0,
    average=0,
    precisions=("auto", "float32", "bfloat16"),
    precision="auto",
    least_batch=2,
)


def find_plan(name: str | Path) -> Plan:
    """The plan called ``name`` among the shipped ones, or in the file ``name``.

    Raises
    ------
    RequestError
        There is no such plan, or it is wrong (the message says where).
    """
    return parse_plan(read_plan_file(name, PAPER))


def parse_plan(data: object) -> Plan:
    """A plan from decoded JSON; RequestError says what is wrong and where."""
    top = Fields(data, "the plan itself")
    if top.whole("format") != FORMAT or top.text("tables_of", "") != PAPER:
        raise RequestError(
            f"This is no plan of the coarse-refine tables: it needs 'format': {FORMAT} and "
            f"'tables_of': '{PAPER}'."
        )
    schedules = {name: _schedule(part) for name, part in top.objects("schedules", "the schedule")}
    runs = {name: _run(name, part, schedules) for name, part in top.objects("runs", "the run")}
    folds = top.wholes("folds")
    check_folds(folds, "In the plan, 'folds'")
    tables = top.part("tables", "'tables'")
    plan = Plan(
        name=plain_name(top.text("name"), "the plan"),
        title=top.text("title"),
        notes=top.texts("notes", []),
        classes=check_classes(top.texts("classes"), "In the plan, 'classes'"),
        folds=folds,
        seed=top.whole("seed", 0),
        per_patient=top.whole("per_patient", 0),
        gate_views=top.whole("gate_views", 5, least=1),
        schedules=schedules,
        runs=runs,
        tables={name: _rows(name, tables, runs) for name in ROW_TABLES},
        severity_run=_segmentation(tables.text("T5"), "'T5'", runs),
        pictures=top.whole("pictures", 4, least=1),
    )
    tables.finish()
    top.finish()
    return plan


def check_folds(folds: tuple[int, ...], what: str) -> tuple[int, ...]:
    """The folds; RequestError where one is not 1 to 5."""
    if not folds or any(not 1 <= fold <= FOLDS for fold in folds):
        raise RequestError(f"{what} must name folds from 1 to {FOLDS}.")
    return folds


def check_classes(names: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The names; RequestError where there are none, too many, or the same twice."""
    clean = tuple(name.strip() for name in names)
    if not clean or not all(clean) or len(clean) > MOST_CLASSES or len(set(clean)) < len(clean):
        raise RequestError(f"{what} must name each lesion class once, at least one.")
    return clean


def _schedule(part: Fields) -> RunSchedule:
    schedule = RunSchedule(
        steps=part.whole("steps", least=1) if part.has("steps") else None,
        epochs=part.whole("epochs", least=1) if part.has("epochs") else None,
        batches=part.choice("batches", BATCHES),
        lesion_share=part.number("lesion_share", 0.75, low=0.01, high=1),
        patience=part.whole("patience", 0),
        **read_shared(part, DEFAULTS),
    )
    part.finish()
    if (schedule.steps is None) == (schedule.epochs is None):
        raise RequestError(f"In the plan, {part.where} needs either 'steps' or 'epochs'.")
    return schedule


def _run(name: str, part: Fields, schedules: Mapping[str, RunSchedule]) -> Run:
    kind = part.choice("kind", KINDS, "segmentation")
    run = Run(
        name=plain_name(name, "a run"),
        kind=kind,
        network=part.mapping("network"),
        classes=part.choice("classes", CLASSES, "each"),
        loss=part.texts("loss", list(LOSS_PARTS)),
        gate=part.flag("gate", False),
        init=part.choice("init", INITS, "random"),
        weights=part.text("weights", None),
        schedule=part.choice("schedule", schedules),
        bce_share=part.number("bce_share", 0, low=0, high=1),
    )
    part.finish()
    if not run.loss or not set(run.loss) <= set(LOSS_PARTS):
        raise RequestError(
            f"In the plan, 'loss' of {part.where} must be some of {', '.join(LOSS_PARTS)}."
        )
    if (run.init == "weights") != (run.weights is not None):
        raise RequestError(
            f"In the plan, {part.where} must name its 'weights' if, and only if, 'init' is "
            "'weights'."
        )
    if kind == "classification":
        _check_classifier(run, part.where)
        return run
    check_network(run.built_for(1).network, part.where)
    if run.gate and run.network["network"] != "coarse-refine":
        raise RequestError(
            f"In the plan, {part.where} has a 'gate', which the coarse-refine network alone can "
            "have."
        )
    return run


def _check_classifier(run: Run, where: str) -> None:
    import torch

    from CovidLesionSegLogic.networks.classifier import SliceClassifier

    if run.gate or run.init != "random":
        raise RequestError(f"In the plan, {where} is a classifier: it has no gate and no 'init'.")
    try:
        with torch.device("meta"):  # shapes only
            SliceClassifier(**run.network)
    except (TypeError, ValueError, KeyError) as error:
        raise RequestError(f"In the plan, the network of {where} cannot be ({error}).") from error


def _segmentation(run: str, where: str, runs: Mapping[str, Run]) -> str:
    if run not in runs or runs[run].kind != "segmentation" or runs[run].classes != "each":
        raise RequestError(
            f"In the plan, {where} of 'tables' must name a segmentation of each class, not '{run}'."
        )
    return run


def _rows(table: str, tables: Fields, runs: Mapping[str, Run]) -> tuple[Row, ...]:
    rows = []
    for part in tables.rows(table, []):
        row = Row(part.text("label"), part.text("run"))
        part.finish()
        run = runs.get(row.run)
        if run is None:
            raise RequestError(f"In the plan, {part.where} names the unknown run '{row.run}'.")
        if table == "T4":
            _segmentation(row.run, part.where, runs)
        elif table == "T6" and not (run.gate or run.kind == "classification"):
            raise RequestError(
                f"In the plan, {part.where} needs a run with a gate, or a classification."
            )
        elif table in ("T7", "levers") and run.kind != "segmentation":
            raise RequestError(f"In the plan, {part.where} needs a segmentation.")
        rows.append(row)
    return tuple(rows)
