"""Early stopping: a training ends when its validation has not become better for a while.

"The training monitors the loss on the validation dataset, and it will early stop if the loss
increases too much" (coarse-refine paper, section 3.1). How much is not said; a patience of 20
epochs is our reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def lower_is_better(figure: str) -> bool:
    """Whether a validation figure of this name is a loss."""
    return figure.endswith("loss")


def validations_without_gain(log: Sequence[Mapping[str, float]], figure: str) -> int:
    """How many validations have passed since the best value of ``figure``.

    It is read from the log alone, so that a run that was killed and gone on with stops where one
    that was not would have. The log keeps four decimals: a smaller gain is none.

    Parameters
    ----------
    log
        Rows of the trainer's log, oldest first.
    figure
        Name of a validation figure: "score" or another that is better where it is higher, or one
        whose name ends with "loss".

    Raises
    ------
    ValueError
        A row lacks the figure.
    """
    best, since = None, 0
    for row in log:
        if figure not in row:
            known = ", ".join(name for name in row if name not in ("step", "loss"))
            raise ValueError(f"stop_on names the figure {figure!r}; the validation gives {known}")
        value = -row[figure] if lower_is_better(figure) else row[figure]
        # The first one is the best so far even where it is no number; nothing is worse than that.
        if best is None or value > best or (best != best and value == value):
            best, since = value, 0
        else:
            since += 1
    return since
