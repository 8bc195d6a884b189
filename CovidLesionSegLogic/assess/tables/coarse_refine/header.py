"""What a reader must know before the numbers, from the results themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import Results
from CovidLesionSegLogic.assess.tables.header import distinct, hardware_text, software_texts
from CovidLesionSegLogic.assess.tables.summary import counted

PHANTOMS = (
    "**The images are phantoms, made by a program with known truth.** The numbers show that the "
    "whole chain works, and say nothing about patients or about the paper's data."
)
ORDERS = {"fivefold": "the five variants of every image in each epoch", "mixture": "images drawn"}


def header_lines(results: Results) -> list[str]:
    """Sentences on what was really run."""
    plan, files = results.plan, results.files
    lines = [PHANTOMS] if (results.census or {}).get("phantoms") else []
    lines.append(
        f"{len(files)} of {len(plan.jobs())} runs of the plan '{plan.name}' are finished "
        f"(fold{'s' if len(plan.folds) > 1 else ''} {', '.join(map(str, plan.folds))} of 5)."
    )
    if not files:
        return [*lines, "Nothing has been measured yet: all cells of ours are empty."]
    lines.append(f"Schedule really used: {'; or '.join(distinct(map(_schedule_text, files)))}.")
    lines.append(f"The paper's schedule: {printed.SCHEDULE}.")
    seen = [_seen(result) for result in files]
    if min(seen) < printed.IMAGES_SEEN:
        share = 100 * max(seen) / printed.IMAGES_SEEN
        lines.append(
            f"**Ours is shorter than the paper's longest**: at most {max(seen):,} images went "
            f"through the optimiser, {share:.2g} % of the paper's up to "
            f"{printed.IMAGES_SEEN:,}. Compare rows with each other; a difference from the printed "
            "numbers says nothing about them."
        )
    lines.append(f"Images: {'; or '.join(distinct(map(_counts_text, files)))}.")
    lines.append(f"Hardware: {'; or '.join(distinct(map(hardware_text, files)))}.")
    lines.append(f"Software: {'; or '.join(software_texts(files))}.")
    return lines


def _seen(result: Mapping[str, Any]) -> int:
    return int(result["training"]["steps"] * result["entry"]["schedule"]["batch_size"])


def _schedule_text(result: Mapping[str, Any]) -> str:
    entry = result["entry"]
    schedule, steps = entry["schedule"], result["training"]["steps"]
    text = (
        f"{entry['kind']}: {counted(steps, 'optimiser step')} of {schedule['batch_size']} images "
        f"of {schedule['size']} pixels, {ORDERS[schedule['batches']]}, {schedule['optimiser']} at "
        f"{schedule['learning_rate']:g} ({schedule['decay']}), {result['precision']}"
    )
    if schedule["epochs"] is not None:
        text += f", up to {counted(schedule['epochs'], 'epoch')}"
    if schedule["patience"]:
        text += f", stopped after {schedule['patience']} validations without gain at the latest"
    best = schedule["choose"] == "best" or entry["kind"] == "classification"
    return text + (", best weights" if best else ", last weights")


def _counts_text(result: Mapping[str, Any]) -> str:
    counts = result["counts"]
    parts = (
        f"{name} {counts[name]['images']} of {counts[name]['patients']} patients "
        f"({counts[name]['with_lesion']} with outlined lesion)"
        for name in ("training", "validation", "test")
    )
    return f"fold {result['fold']}: {', '.join(parts)}"
