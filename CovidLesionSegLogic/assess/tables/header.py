"""What a reader must know before the numbers: schedule, hardware, images, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from CovidLesionSegLogic.assess.tables.plan import Plan
from CovidLesionSegLogic.assess.tables.summary import Results, counted, schedule_text


def header_lines(results: Results) -> list[str]:
    """Sentences from the results themselves, not from what the plan intended."""
    plan, files = results.plan, results.all_results
    jobs = plan.jobs()
    lines = [f"{len(files)} of {len(jobs)} runs of the plan '{plan.name}' are finished."]
    if not files:
        return [*lines, "Nothing has been measured yet: all cells of ours are empty."]
    schedules = distinct(schedule_text(r["entry"]["schedule"]) for r in files)
    lines.append(f"Schedule really used: {'; or '.join(schedules)}.")
    lines += _shorter(plan, files)
    lines.append(f"Test images: {'; or '.join(distinct(map(_test_text, files)))}.")
    lines.append(f"Hardware: {'; or '.join(distinct(map(hardware_text, files)))}.")
    lines.append(f"Software: {'; or '.join(software_texts(files))}.")
    seeds = sorted({r["seed"] for r in files})
    lines.append(
        f"Seeds: {', '.join(map(str, seeds))}. Intervals are 95 % percentile bootstrap intervals "
        "over the test images"
        + ("." if len(seeds) > 1 else "; with one seed, chance in the training is not in them.")
    )
    return lines


def _shorter(plan: Plan, files: list[dict[str, Any]]) -> list[str]:
    """Ours against the published schedule, in slices seen."""
    published: Mapping[str, Any] = plan.published
    if not {"steps", "batch_size", "text"} <= published.keys():
        return []
    theirs = published["steps"] * published["batch_size"]
    seen = {r["entry"]["schedule"]["steps"] * r["entry"]["schedule"]["batch_size"] for r in files}
    lines = [f"The paper's schedule: {published['text']}."]
    if min(seen) < theirs:
        share = f"{100 * max(seen) / theirs:.{1 if max(seen) * 20 < theirs else 0}f}"
        lines.append(
            f"**Ours is shorter than the paper's**: at most {max(seen):,} slices went through the "
            f"optimiser, {share} % of the paper's {theirs:,}. Compare rows with each other; "
            "a difference from the printed numbers says nothing about them."
        )
    return lines


def _test_text(result: Mapping[str, Any]) -> str:
    counts = result["counts"]
    apart = counts["validation"]["slices"]
    return (
        f"{counts['test']['slices']} of {counts['test']['patients']} patients"
        + (f", with {apart} validation slices" if apart else "")
        + ", none of them trained on"
    )


def software_texts(files: Iterable[Mapping[str, Any]]) -> list[str]:
    """The versions that result files name, each once."""
    return distinct(
        f"{r['software']['name']} {r['software']['version']}, PyTorch {r['software']['torch']}"
        for r in files
    )


def hardware_text(result: Mapping[str, Any]) -> str:
    """Processor, threads and device of a result file."""
    hardware = result["hardware"]
    return (
        f"{hardware['processor']}, {counted(hardware['cores'], 'core')}, "
        f"{counted(hardware['threads'], 'thread')}; the networks ran on {result['device']}"
    )


def distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, in the order in which they first occur."""
    return list(dict.fromkeys(texts))
