"""Plans of the papers' tables: what is refused, and what the shipped ones say."""

from __future__ import annotations

import pytest
from table_plans import small_plan, write_plan

from CovidLesionSegLogic.assess.tables.metrics import METRICS
from CovidLesionSegLogic.assess.tables.plan import Evaluation, Table
from CovidLesionSegLogic.assess.tables.read_plan import find_plan, parse_plan, shipped_plans
from CovidLesionSegLogic.assess.tables.summary import printed_number
from CovidLesionSegLogic.errors import RequestError


@pytest.fixture(scope="module")
def short():
    return find_plan("refnet-short")


@pytest.fixture(scope="module")
def full():
    return find_plan("refnet")


def put(data, path, value):
    *before, last = path
    for key in before:
        data = data[key]
    if value is None:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "format 1"),
        (("title",), None, "lacks 'title'"),
        (("runs", "narrow", "network"), {"network": "vnet"}, "unknown network 'vnet'; known: "),
        (("runs", "narrow", "network"), {"network": "unet", "depth": 3}, "depth"),
        (("runs", "narrow", "network"), {"network": "lungnet"}, "unknown network 'lungnet'"),
        (("runs", "narrow", "schedule"), "long", "'schedule' of the run 'narrow' must be 's'"),
        (("runs", "narrow", "init"), "weights", "must name its 'weights'"),
        (("runs", "narrow", "weights"), "x", "only if, 'init' is 'weights'"),
        (("runs", "narrow", "data"), {"sirm": 1.0}, "'sirm', which is no source"),
        (("runs", "narrow", "data"), {"sirm100": 0}, "above 0"),
        (("runs", "narrow", "data"), {"zenodo20": 1.0}, "'sirm100' too"),
        (("runs", "narrow", "augment"), True, "unknown field 'augment'"),
        (("runs", "a b"), {"network": {"network": "unet"}, "schedule": "s"}, "name 'a b'"),
        (("schedules", "s", "steps"), 0, "at least 1"),
        (("schedules", "s", "steps"), True, "whole number"),
        (("schedules", "s", "size"), 100, "multiple of 32"),
        (("schedules", "s", "learning_rate"), "fast", "a number from"),
        (("schedules", "s", "learning_rate"), float("nan"), "a number from"),
        (("schedules", "s", "choose"), "best", "no validation patients"),
        (("data", "test_patients"), 0, "either 'test_patients' or 'test_folder'"),
        (("data", "test_folder"), "x", "either 'test_patients' or 'test_folder'"),
        (("seeds",), [], "'seeds'"),
        (("seeds",), [1, 1], "without repetitions"),
        (("tables", "T1", "rows", 0, "run"), "unet", "unknown run 'unet'"),
        (("tables", "T1", "rows", 0, "label"), ["one"], "2 texts"),
        (("tables", "T1", "rows", 0, "paper"), {"dice": "0.5"}, "'dice', which the table"),
        (("tables", "T1", "rows", 0, "paper", "dice_mean_256"), 0.5, "as printed, a text"),
        (("tables", "T1", "rows", 0, "bold"), ["mae"], "'mae' of entry 1"),
        (("tables", "T1", "rows", 0, "evaluation"), {"flip": True}, "unknown field 'flip'"),
        (("tables", "T1", "reference"), 3, "no row for its 'reference'"),
        (("tables", "T1", "columns"), ["f1"], "unknown column 'f1'"),
        (("tables", "T1", "rows"), [], "no row"),
        (("figures", "figure-6", "kind"), "film", "'curves' or 'pictures'"),
        (("figures", "figure-6", "series", 0, "run"), "x", "unknown run 'x'"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_sentence(path, value, said):
    data = small_plan()
    put(data, path, value)
    with pytest.raises(RequestError) as refused:
        parse_plan(data)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [[], "plan", None])
def test_a_plan_that_is_no_object_is_refused(data):
    with pytest.raises(RequestError, match="must be an object"):
        parse_plan(data)


def not_best_in_bold(table: Table) -> list[tuple[str, str]]:
    """(row, column) of printed cells in bold that another printed cell of the column beats."""
    wrong = []
    for row in table.rows:
        for column in row.bold:
            mine = printed_number(row.paper[column])
            others = [printed_number(r.paper[column]) for r in table.rows if column in r.paper]
            best = max(others) if METRICS[column].higher else min(others)
            if mine != best:
                wrong.append((row.label[0], column))
    return wrong


def test_files_and_names_are_found_or_refused(tmp_path):
    plan = find_plan(write_plan(small_plan(), tmp_path / "my.json"))
    assert plan.name == "small"
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    with pytest.raises(RequestError, match="is not JSON"):
        find_plan(tmp_path / "bad.json")
    with pytest.raises(RequestError, match=r"no plan 'x': give a file, or one of .*refnet-short"):
        find_plan("x")


def test_a_seed_other_than_0_has_its_own_folder():
    data = small_plan()
    data["seeds"] = [0, 3]
    folders = [job.folder for job in parse_plan(data).jobs()]
    assert folders == [f"{n}{s}" for s in ("", "-seed3") for n in ("narrow", "wide", "started")]
    data["runs"]["narrow-seed3"] = data["runs"]["wide"]
    with pytest.raises(RequestError, match="share the folder 'narrow-seed3'"):
        parse_plan(data)


def test_a_run_is_judged_in_every_way_its_rows_ask_for():
    jobs = {job.run.name: job for job in parse_plan(small_plan()).jobs()}
    assert jobs["wide"].evaluations == [Evaluation()]
    assert {e.key for e in jobs["narrow"].evaluations} == {"averaged", "raw", "averaged-flips"}


def test_steps_can_be_changed():
    plan = parse_plan(small_plan())
    assert plan.with_steps(None) is plan
    assert plan.with_steps(7).jobs()[0].entry()["schedule"]["steps"] == 7


def test_shipped_plans_have_the_papers_tables(short, full):
    assert shipped_plans("refnet") == ["refnet", "refnet-short"]
    for plan in (short, full):
        sizes = {name: len(table.rows) for name, table in plan.tables.items()}
        assert sizes.items() >= {"T1": 7, "T2": 6, "T3": 4, "T4": 8}.items()
        for name in ("T1", "T2", "T3", "T4"):
            assert all(list(row.paper) == list(METRICS)[:6] for row in plan.tables[name].rows)
    assert "levers" in short.tables
    assert len(full.seeds) > 1


@pytest.mark.parametrize(
    ("table", "row", "column", "printed"),
    [
        ("T1", 0, "dice_mean_256", "0.439 ± 0.007"),
        ("T1", 1, "sensitivity", "0.637 ± 0.01"),
        ("T1", 2, "s_measure", "0.814 ± 0.003"),
        ("T1", 3, "specificity", "0.840 ± 0.002"),
        ("T1", 4, "mae", "0.120 ± 0.015"),
        ("T1", 5, "e_measure_mean", "0.838 ± 0.002"),
        ("T1", 6, "dice_mean_256", "0.755 ± 0.005"),
        ("T2", 0, "dice_mean_256", "0.695 ± 0.006"),
        ("T2", 1, "sensitivity", "0.719 ± 0.008"),
        ("T2", 3, "mae", "0.059 ± 0.004"),
        ("T2", 5, "e_measure_mean", "0.919 ± 0.01"),
        ("T3", 0, "e_measure_mean", "0.871"),
        ("T3", 2, "sensitivity", "0.736"),
        ("T3", 3, "mae", "0.060"),
        ("T4", 0, "mae", "0.207"),
        ("T4", 1, "specificity", "0.765"),
        ("T4", 5, "dice_mean_256", "0.751"),
        ("T4", 6, "specificity", "0.969"),
    ],
)
def test_the_papers_numbers_are_as_printed(table, row, column, printed, short, full):
    for plan in (short, full):
        assert plan.tables[table].rows[row].paper[column] == printed


def test_footnotes_name_the_papers_slips(short, full):
    for plan in (short, full):
        t1, t2, t3, t4 = (plan.tables[name] for name in ("T1", "T2", "T3", "T4"))
        same = {
            row.label[0]
            for row in t1.rows
            if printed_number(row.paper["s_measure"]) == printed_number(row.paper["e_measure_mean"])
        }
        assert all(name in t1.footnotes[0] for name in same)
        assert same == {"Gated-UNet", "Dense-UNet", "U-Net++"}
        assert not_best_in_bold(t1) == [("Ref-Net (ours)", "s_measure")]
        assert not_best_in_bold(t2) == [("Ref-Net", "specificity"), ("Ref-Net", "mae")]
        assert not_best_in_bold(t3) == []
        assert not_best_in_bold(t4) == [("(No. 6) Backbone + EAM + CEM", "specificity")]
        assert "0.969" in t4.footnotes[0]
        assert "0.961" in t2.footnotes[0]


def test_tables_share_the_full_network(short):
    full_network = {short.tables[t].rows[i].run for t, i in (("T2", 3), ("T3", 3), ("T4", 7))}
    assert full_network == {"refnet-resnet50"}
    assert short.tables["T1"].rows[6].run == short.tables["T2"].rows[5].run


def test_short_plan_says_what_it_is(short):
    said = " ".join(short.notes)
    assert "no ImageNet weights of Res2Net-50 can be had offline" in said
    assert "no test image takes part in a choice" in said
    assert {run.init for run in short.runs.values()} == {"random", "imagenet", "weights"}
    assert all(
        run.network["encoder_options"] == {"stride_at": "1x1"}
        for run in short.runs.values()
        if run.init == "imagenet"
    )
