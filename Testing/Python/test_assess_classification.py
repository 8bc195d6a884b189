"""Classification by slice and patient in both conventions; ROC curves; their pictures."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import io

from CovidLesionSegLogic.assess.classification import Classification, patient_score
from CovidLesionSegLogic.assess.confusion import Confusion, draw_confusions
from CovidLesionSegLogic.assess.intervals import Interval, resample_counts
from CovidLesionSegLogic.assess.roc import draw_roc, roc
from CovidLesionSegLogic.engine import patient_decision
from CovidLesionSegLogic.models import GateSpec

RUN_OF_2 = GateSpec(rule="run", run=2)


def test_equations_6_to_9_by_hand():
    one = Confusion(true_positive=6, false_positive=2, false_negative=3, true_negative=9)
    assert one.measures() == pytest.approx(
        {
            "accuracy": 15 / 20,
            "recall": 6 / 9,
            "precision": 6 / 8,
            "f1": 2 * (6 / 8) * (6 / 9) / (6 / 8 + 6 / 9),
            "specificity": 9 / 11,
        }
    )
    other = one.swapped().measures()
    assert other["accuracy"] == one.measures()["accuracy"]
    assert (other["recall"], other["specificity"]) == pytest.approx((9 / 11, 6 / 9))
    assert other["precision"] == pytest.approx(9 / 12)
    assert one.matrix() == ((9, 2), (3, 6))
    assert Confusion(0, 0, 0, 4).measures()["recall"] is None
    with pytest.raises(ValueError, match="1 decisions for 2 truths"):
        Confusion.of([True], [True, False])


def test_table_6_fits_only_with_non_covid_as_positive():
    """Printed .983, .987 and .974 against every matrix of 539 and 397 patients."""

    def fits(measures):
        printed = {"accuracy": 0.983, "recall": 0.987, "precision": 0.974}
        return all(abs(measures[k] - v) < 0.0015 for k, v in printed.items())

    found = [
        Confusion(539 - missed, false, missed, 397 - false)
        for missed, false in itertools.product(range(40), range(40))
    ]
    assert not any(fits(one.measures()) for one in found)
    assert any(fits(one.swapped().measures()) for one in found)


def fill(gate=None):
    cases = Classification(gate)
    # Slices of two patients alternate: order within a patient is what counts.
    for (a, b), truth in zip(
        [(0.2, 0.1), (0.7, 0.6), (0.6, 0.2), (0.1, 0.9)], [False, True, True, False], strict=True
    ):
        cases.update(a, truth, patient="ill")
        cases.update(b, False, patient="well")
    cases.update(0.3, False, patient="fine")
    return cases.compute()


def test_slices_and_patients():
    published = fill()
    assert published.slices.confusion == Confusion(2, 2, 0, 5)
    assert published.patients.confusion == Confusion(1, 1, 0, 1)
    assert published.patients.truth == (True, False, False)
    runs = fill(RUN_OF_2)
    assert runs.slices.confusion == published.slices.confusion
    assert runs.patients.confusion == Confusion(1, 0, 0, 2)
    report = json.loads(json.dumps(runs.to_dict()))
    assert report["rule"] == {"threshold": 0.5, "rule": "run", "run": 2}
    measures = report["slices"]["measures"]
    assert measures["COVID-19 as positive"]["precision"]["value"] == pytest.approx(2 / 4)
    assert measures["non-COVID as positive"]["precision"]["value"] == 1
    assert measures["non-COVID as positive"]["recall"]["value"] == pytest.approx(5 / 7)
    assert report["slices"]["confusion_matrix"]["cells"] == [[5, 2], [0, 2]]
    assert report["patients"]["cases"] == 3
    assert "accurate" in report["patients"]["tests"]["reading"]
    with pytest.raises(ValueError, match="no slice"):
        Classification().compute()


def test_the_threshold_is_that_of_the_gate_for_slices_and_patients():
    cases = Classification(GateSpec(threshold=0.75))
    for p, truth, patient in ((0.75, True, "at"), (0.6, False, "below"), (0.8, True, "above")):
        cases.update(p, truth, patient=patient)
    cases.update(0.1, False, patient="above")  # one positive slice makes the patient positive
    found = cases.compute()
    assert found.slices.decided == (False, False, True, False)
    assert found.patients.decided == (False, False, True)
    assert found.patients.truth == (True, False, True)
    assert patient_score([0.9], RUN_OF_2) == 0


def test_intervals_draw_patients():
    once, often = Classification(), Classification()
    rng = np.random.default_rng(3)
    for patient in range(15):
        truth = patient % 2 == 0
        p = float(np.clip(rng.normal(0.65 if truth else 0.4, 0.2), 0, 1))
        once.update(p, truth, patient=str(patient))
        for _ in range(30):
            often.update(p, truth, patient=str(patient))
    few, many = once.compute().slices, often.compute().slices
    for name, measures in few.measures.items():
        for key, one in measures.items():
            other = many.measures[name][key]
            assert (one.value, one.low, one.high) == pytest.approx(
                (other.value, other.low, other.high)
            )
    assert few.roc.auc.low == pytest.approx(many.roc.auc.low)
    assert few.roc.auc.low < few.roc.auc.value < few.roc.auc.high


def test_roc_by_hand():
    # Of 3 x 2 pairs the positive is higher in 4 and equal in 1.
    found = roc([0.9, 0.5, 0.4, 0.5, 0.1], [True, True, True, False, False], list("abcde"))
    assert found.auc.value == pytest.approx(4.5 / 6)
    assert found.auc.n == 5
    assert found.threshold.tolist() == [np.inf, 0.9, 0.5, 0.4, 0.1]
    assert found.true_positive_rate.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert found.false_positive_rate.tolist() == pytest.approx([0, 0, 1 / 2, 1 / 2, 1])
    with np.errstate(all="raise"):
        alone = roc([0.2, 0.3], [True, True], ["a", "b"])
    assert alone.auc == Interval(None, None, None, 0)
    assert np.isnan(alone.false_positive_rate).all()
    assert roc([0.2, 0.3], [False, True], ["a", "b"]).auc == Interval(1, None, None, 2)
    # The one positive patient meets others in other resamples.
    several = roc([0.5, 0.3, 0.7], [True, False, False], list("abc")).auc
    assert (several.value, several.low, several.high) == (0.5, 0, 1)
    with pytest.raises(ValueError, match="2 scores, 1 truths"):
        roc([0.2, 0.3], [True], ["a", "b"])


def test_limits_of_the_area_are_those_of_all_resamples():
    rng = np.random.default_rng(8)
    patients = np.repeat(np.arange(12), 3)
    truth = rng.random(36) < 0.4
    scores = np.round(rng.normal(truth, 1.2), 1)  # with ties
    higher = np.subtract.outer(scores[truth], scores[~truth])
    higher = (higher > 0) + (higher == 0) / 2
    areas = []
    for drawn in resample_counts(12)[:, patients]:
        weights = np.outer(drawn[truth], drawn[~truth])
        if weights.any():
            areas.append((weights * higher).sum() / weights.sum())
    found = roc(scores.tolist(), truth.tolist(), [str(p) for p in patients]).auc
    assert found.value == pytest.approx(higher.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))
    assert found.n == 12


SCORES = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25)


@settings(deadline=None, max_examples=40)
@given(SCORES)
def test_area_is_that_under_the_curve_and_of_the_pairs(cases):
    scores, truth = zip(*cases, strict=True)
    found = roc(scores, truth, [str(i) for i in range(len(cases))])
    pairs = [(p > n) + (p == n) / 2 for p, t in cases if t for n, u in cases if not u]
    if not pairs:
        assert found.auc.value is None
        return
    assert found.auc.value == pytest.approx(np.mean(pairs))
    x, y = found.false_positive_rate, found.true_positive_rate
    assert found.auc.value == pytest.approx(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 10), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_patient_score_is_where_the_decision_turns(tenths, run, threshold):
    p = [one / 10 for one in tenths]
    gate = GateSpec(rule="run", run=run)
    decided = patient_decision(p, threshold=threshold / 10, rule="run", run=run)
    assert decided == (patient_score(p, gate) > threshold / 10)
    any_slice = patient_decision(p, threshold=threshold / 10)
    assert any_slice == (patient_score(p, GateSpec()) > threshold / 10)


def test_pictures(tmp_path):
    found = fill()
    curves = {"slices": found.slices.roc, "patients": found.patients.roc}
    draw_roc(tmp_path / "roc.png", curves, "gate")
    matrices = {"encoder": found.slices.confusion, "baseline": found.patients.confusion}
    draw_confusions(tmp_path / "confusion.png", matrices, names=("non-COVID", "COVID-19"))
    one = {"encoder": found.slices.confusion}
    draw_confusions(tmp_path / "one.png", one, names=("non-COVID", "COVID-19"))
    shapes = {p.stem: io.imread(p).shape for p in tmp_path.glob("*.png")}
    assert shapes["confusion"][1] == pytest.approx(2 * shapes["one"][1], abs=2)
    assert io.imread(tmp_path / "roc.png").std() > 1
