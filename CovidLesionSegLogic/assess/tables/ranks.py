"""Whether our rows stand in the order of the paper's: correlation of ranks, in a sentence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from CovidLesionSegLogic.assess.tables.metrics import METRICS
from CovidLesionSegLogic.assess.tables.plan import Table
from CovidLesionSegLogic.assess.tables.summary import Judged, Results, printed_number


@dataclass(frozen=True)
class Order:
    """Our values beside the printed ones of a metric, for rows that have both.

    ``labels``, ``ours`` and ``paper`` belong together, in the table's order.
    """

    metric: str
    labels: tuple[str, ...]
    ours: tuple[float, ...]
    paper: tuple[float, ...]

    def kendall(self) -> float | None:
        """Kendall's tau-b; None with fewer than three rows, or where all values are equal."""
        from scipy.stats import kendalltau

        if len(self.ours) < 3 or len(set(self.ours)) < 2 or len(set(self.paper)) < 2:
            return None
        return float(kendalltau(self.ours, self.paper).statistic)

    def agreeing_pairs(self) -> tuple[int, int]:
        """How many pairs of rows stand in the same order in both, of those with an order."""
        same = total = 0
        for i, j in itertools.combinations(range(len(self.ours)), 2):
            ours, paper = self.ours[i] - self.ours[j], self.paper[i] - self.paper[j]
            if ours and paper:
                total += 1
                same += (ours > 0) == (paper > 0)
        return same, total

    def ranking(self, values: Sequence[float]) -> list[str]:
        """Labels from best to worst; equal ones in the table's order."""
        sign = -1 if METRICS[self.metric].higher else 1
        order = sorted(range(len(values)), key=lambda i: (sign * values[i], i))
        return [self.labels[i] for i in order]


def order_of(table: Table, results: Results, metric: str = "dice_mean_256") -> Order:
    """The rows that were run and that the paper prints."""
    rows = []
    for row in table.rows:
        judged = results.of(row)
        value = None if judged is None else judged.interval(metric).value
        if value is not None and metric in row.paper:
            rows.append((row.name, value, printed_number(row.paper[metric])))
    labels, ours, paper = zip(*rows, strict=True) if rows else ((), (), ())
    return Order(metric, labels, ours, paper)


def order_sentence(order: Order, rows: int) -> str:
    """What the numbers say about the order of the rows, in one or two sentences."""
    name = METRICS[order.metric].short
    n = len(order.labels)
    if n < 2:
        return f"{n} of {rows} rows with printed numbers were run: there is no order to compare."
    ours, paper = order.ranking(order.ours), order.ranking(order.paper)
    same, total = order.agreeing_pairs()
    tau = order.kendall()
    measured = "" if tau is None else f", Kendall's τ {tau:.2f}"
    head = "" if n == rows else f"{n} of {rows} rows were run. "
    first = f"both put '{ours[0]}' first"
    if ours[0] != paper[0]:
        first = f"ours puts '{ours[0]}' first, the paper '{paper[0]}'"
    return (
        f"{head}By {name}, {first}; {same} of {total} pairs of rows stand in the paper's "
        f"order{measured}. Ours, best first: {', '.join(ours)}."
    )


def difference_sentence(table: Table, results: Results, metric: str = "dice_mean_256") -> str:
    """How many rows differ from the reference row by more than the images' chance; may be ""."""
    if table.reference is None:
        return ""
    reference = table.rows[table.reference]
    base = results.of(reference)
    if base is None:
        return f"The row '{reference.name}', which the others refer to, was not run."
    clear: dict[str, list[str]] = {"above": [], "below": []}
    count = 0
    for row in table.rows:
        judged: Judged | None = results.of(row)
        if row is reference or judged is None:
            continue
        found = judged.difference(base, metric)
        if found is None or found.low is None or found.high is None:
            continue
        count += 1
        if found.low > 0 or found.high < 0:
            clear["above" if found.low > 0 else "below"].append(row.name)
    if not count:
        return ""
    parts = [f"{where} it: {'; '.join(names)}" for where, names in clear.items() if names]
    return (
        f"Compared image by image with '{reference.name}', "
        f"{sum(map(len, clear.values()))} of {count} other rows have a 95 % interval of the "
        f"difference in {METRICS[metric].short} that leaves out 0"
        + (f" ({', '.join(parts)})." if parts else ".")
    )
