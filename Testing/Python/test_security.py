"""What SECURITY.md promises."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fault_line import Line, listening
from shown_result import Page
from test_report_document import HOSTILE

from CovidLesionSegLogic.assess.tables import document
from CovidLesionSegLogic.assess.tables.cells import Cell, Grid
from CovidLesionSegLogic.batch import remote, summary_page
from CovidLesionSegLogic.batch.checksums import Inputs
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, Outcome
from CovidLesionSegLogic.batch.pacs import Credentials
from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import LeftOut, Remote, Study
from CovidLesionSegLogic.batch.summary import write_summary
from CovidLesionSegLogic.cli.worker import private_folder
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.at_hand import Labelled, write_table
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.models import get_card, model_folders, registry
from CovidLesionSegLogic.models.shipped import SHIPPED_CARDS, checksum_of
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.quantify.export import safe_cell
from CovidLesionSegLogic.report import document as report_document

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other rights of access")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")

# --- no code in data ----------------------------------------------------------------------------

FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile",
    "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "numpy.fromregex", "xml.dom.minidom.parse",
}  # fmt: skip
FORBIDDEN_MODULES = {
    "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "code", "pty",
    "socketserver", "http.server", "ftplib", "telnetlib", "smtplib", "urllib.request",
}  # fmt: skip
MAY_NAME_PICKLE = {"UnpicklingError"}
"""What PyTorch raises for a file that it will not read."""
SPAWNING = {
    # Where processes are started: the program itself, pip, git and the like; never a shell.
    "CovidLesionSegLogic/assess/bench/growth.py",
    "CovidLesionSegLogic/assess/bench/start.py",
    "CovidLesionSegLogic/batch/child.py",
    "CovidLesionSeg/CovidLesionSegLib/packages.py",
    "dev.py",
}


def dotted(node: ast.AST) -> str:
    """The name of what is called: "torch.load"; "" where it is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def constant(call: ast.Call, name: str) -> Any:
    """The value of a keyword that is written out, else None."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


@pytest.fixture(scope="module")
def trees(repository: Path) -> dict[str, ast.Module]:
    """Every source file of the product by its path, tests left out."""
    files = [repository / "dev.py", repository / "setup.py"]
    for folder in ("CovidLesionSegLogic", "CovidLesionSeg"):
        files += (repository / folder).rglob("*.py")
    return {
        path.relative_to(repository).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in files
    }


def calls(trees: dict[str, ast.Module]) -> Iterator[tuple[str, ast.Call, str]]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield path, node, dotted(node.func)


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nothing_runs_code_from_data(trees: dict[str, ast.Module]) -> None:
    assert len(trees) > 300
    found = [f"{path}:{call.lineno} {name}" for path, call, name in calls(trees)
             if name in FORBIDDEN_CALLS]  # fmt: skip
    found += [
        f"{path} imports {name}"
        for path, tree in trees.items()
        for name in imported(tree)
        if name in FORBIDDEN_MODULES or name.split(".")[0] in FORBIDDEN_MODULES
    ]
    assert found == []


def test_pickle_is_only_named_for_its_error(trees: dict[str, ast.Module]) -> None:
    used = {
        node.attr
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and dotted(node.value) in ("pickle", "_pickle")
    }
    assert used <= MAY_NAME_PICKLE
    taken = {n for tree in trees.values() for n in imported(tree) if n.startswith("pickle.")}
    assert taken == set()


def test_files_of_tensors_and_arrays_are_read_as_data_only(trees: dict[str, ast.Module]) -> None:
    seen = 0
    for path, call, name in calls(trees):
        where = f"{path}:{call.lineno}"
        if name in ("torch.load", "torch.jit.load", "torch.hub.load"):
            seen += 1
            assert name == "torch.load", where
            assert constant(call, "weights_only") is True, where
        if name in ("np.load", "numpy.load"):
            seen += 1
            assert constant(call, "allow_pickle") is False, where
    assert seen >= 5


def test_no_process_is_started_through_a_shell(trees: dict[str, ast.Module]) -> None:
    for path, call, name in calls(trees):
        assert not any(k.arg == "shell" for k in call.keywords), f"{path}:{call.lineno}"
        if name.startswith(("subprocess.", "os.spawn", "os.exec", "os.posix_spawn")):
            assert path in SPAWNING, f"{path}:{call.lineno}"
            command = call.args[0] if call.args else None
            assert not isinstance(command, (ast.JoinedStr, ast.BinOp)), "a command is a list"
            assert not (isinstance(command, ast.Constant) and isinstance(command.value, str))


def test_no_socket_is_made_by_the_product(trees: dict[str, ast.Module]) -> None:
    for path, call, name in calls(trees):
        ending = name.rsplit(".", 1)[-1]
        assert name not in ("socket.socket", "socket.create_server"), f"{path}:{call.lineno}"
        assert ending not in ("bind", "create_server", "start_server"), f"{path}:{call.lineno}"


# --- models -------------------------------------------------------------------------------------


def test_every_shipped_card_is_listed_and_as_listed() -> None:
    shipped = {
        path.stem: checksum_of(json.loads(path.read_text(encoding="utf-8")))
        for folder in registry.shipped_folders()
        for path in folder.glob("*.json")
    }
    lines = "".join(f'    "{name}": "{shipped[name]}",\n' for name in sorted(shipped))
    assert shipped == SHIPPED_CARDS, f"SHIPPED_CARDS of models/shipped.py must hold:\n{lines}"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the smallest shipped model, in a folder that counts as the installed one."""
    source = next((f for f in registry.shipped_folders() if (f / "lungs.json").exists()), None)
    if source is None:
        pytest.skip("no model is shipped in Resources/Models")
    for name in ("lungs.json", "lungs.safetensors"):
        shutil.copy(source / name, tmp_path / name)
    monkeypatch.setattr(registry, "_SHIPPED", (tmp_path,))
    monkeypatch.delenv("COVIDLESIONSEG_MODELS", raising=False)
    return tmp_path


def test_a_shipped_card_that_was_changed_is_refused(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = installed / "lungs.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(data, indent=1).replace("\n", "\r\n"), encoding="utf-8")
    assert get_card("lungs").name == "lungs"  # other blanks and line ends are no change
    data["input"]["window"][0] -= 1
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match="not the one that came with this version"):
        get_card("lungs")
    assert [one.ok for one in registry.verify()] == [False]
    # What a user names is the user's own.
    monkeypatch.setattr(registry, "_SHIPPED", ())
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(installed))
    assert model_folders() == [installed]
    assert get_card("lungs").input.window[0] == data["input"]["window"][0]


def test_a_card_names_no_file_elsewhere(installed: Path) -> None:
    data = json.loads((installed / "lungs.json").read_text(encoding="utf-8"))
    for name in ("../lungs.safetensors", "/etc/passwd", "a\\b.safetensors", "lungs.pt"):
        with pytest.raises(ValueError, match=r"weights\.file"):
            registry.ModelCard.from_dict({**data, "weights": {**data["weights"], "file": name}})


# --- what is written ----------------------------------------------------------------------------

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", '=HYPERLINK("x")')


def cells_of(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text)) for cell in row]


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run a cell: it begins so, and is no number."""
    try:
        float(cell)
    except ValueError:
        return cell.lstrip().startswith(("=", "+", "-", "@"))
    return False


def record(name: str) -> Record:
    lesion = {"name": name, "volume_ml": 1.0, "share_percent": -2.0}
    numbers: dict[str, Any] = {
        "study_uid": name, "series_uid": name, "model": name, "slices": 3,
        "slices_with_lesion": 1, "lungs_ml": 100.0, "classes": [lesion, {**lesion, "name": "b"}],
        "total_ml": 1.0, "total_percent": 1.0, "score_0_to_25": 3, "slices_positive": 1,
        "infected": True, "warnings": [name],
    }  # fmt: skip
    outputs = {
        kind: {"file": f"{name}.{kind}", "bytes": 1} for kind in ("overview", "report", "labels")
    }
    return Record(name, "k", "r", Inputs(1, "s"), outputs, numbers)


def outcomes(text: str) -> list[Outcome]:
    done = Study(text, Path("a"), series_uid=text)
    return [Outcome(done, DONE, record(text)), Outcome(Study(text, Path(text)), FAILED, None, text)]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_a_summary_is_a_formula(tmp_path: Path, text: str) -> None:
    write_summary(tmp_path, outcomes(text), [LeftOut("file", text, text)], Settings(), report=False)
    cells = cells_of((tmp_path / "summary.csv").read_text(encoding="utf-8-sig"))
    assert [cell for cell in cells if is_formula(cell)] == []
    assert any(text.strip() in cell for cell in cells)


def test_no_cell_of_a_table_of_images_is_a_formula(tmp_path: Path) -> None:
    image = np.zeros((8, 8), np.uint8)
    found = [
        Labelled(Slice(image, image, text, "made-up", "n"), "=other", outlined=False)
        for text in FORMULAS
    ]
    path = write_table(found, tmp_path / "table")
    cells = cells_of(path.read_text(encoding="utf-8"))
    assert [cell for cell in cells if is_formula(cell)] == []


def test_every_writer_of_csv_makes_its_cells_safe(trees: dict[str, ast.Module]) -> None:
    writers = {path for path, _, name in calls(trees) if name in ("csv.writer", "csv.DictWriter")}
    assert {"CovidLesionSegLogic/quantify/export.py", "CovidLesionSegLogic/batch/summary.py"} <= (
        writers
    )
    # The log of a training: its columns are words of the program, its values numbers.
    for path in writers - {"CovidLesionSegLogic/learn/checkpoint.py"}:
        names = {dotted(node) for node in ast.walk(trees[path])}
        assert "safe_cell" in names, path
    assert not any(is_formula(str(safe_cell(text))) for text in FORMULAS)


def check_page(text: str) -> None:
    """A page that runs and fetches nothing, whatever it shows."""
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "iframe", "object", "embed", "link", "form", "base"})
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy
    assert "http" not in policy
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert not (name in ("src", "href") and "script:" in value.replace("%3A", "(colon)"))
    assert text.index("http-equiv") < text.index("<title>"), "before anything that it is to rule"


@pytest.mark.parametrize("text", [*HOSTILE, "javascript:alert(1)", "../../x"])
def test_the_summary_page_shows_texts_as_texts(text: str) -> None:
    page = summary_page.summary_html(outcomes(text), [LeftOut("file", text, text)], [text, "b"])
    check_page(page)
    assert page.count("<img ") == 1
    for target in [a.get("href", "") for a in Page(page).all("a")]:
        assert ":" not in target.split("/")[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_page_of_tables_shows_texts_as_texts(text: str) -> None:
    grid = Grid(text, (text, text), ((Cell(text), Cell(text, text)),))
    blocks: list[Any] = [document.Heading(text), document.Lines((text,)), grid]
    page = document.to_html([*blocks, document.Picture("p.png", b"png", text)], text)
    check_page(page)
    assert page.count("<img ") == 1


def test_every_page_has_a_policy_without_scripts() -> None:
    for module in (report_document, summary_page, document):
        assert module.POLICY.startswith("default-src 'none'; img-src ")
        assert "script" not in module.POLICY


# --- temporary folders --------------------------------------------------------------------------


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
def test_results_in_the_making_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with staged_folder(tmp_path / "out") as fresh:
            assert mode_of(fresh.parent) == 0o700
    finally:
        os.umask(before)
    assert list((tmp_path / "out").iterdir()) == []


@posix
def test_fetched_images_are_private_and_go(tmp_path: Path) -> None:
    from CovidLesionSegLogic.batch.place import Results

    seen = []

    def fetch(study: Any, folder: Path, **_: Any) -> Any:
        seen.append(mode_of(folder))
        return SimpleNamespace(files=(), series=SimpleNamespace(uid="1.2"))

    results = Results(tmp_path)
    results.hidden.mkdir()
    source = remote.Source("https://archive", Credentials())
    study = Study("a", results.hidden / "fetched-a", remote=Remote("1", "https://archive/1"))
    exchange = remote.Exchange(
        source, results, {"1": SimpleNamespace(uid="1")}, store=False, pseudonymise=False,
        cancel=None,
    )  # type: ignore[arg-type, dict-item]  # fmt: skip
    before = os.umask(0)
    try:
        exchange.fetch(SimpleNamespace(fetch_ct=fetch), study, lambda *_: None)  # type: ignore[arg-type]
    finally:
        os.umask(before)
    assert seen == [0o700]
    remote.remove_images(study)
    assert not study.path.exists()


@posix
def test_an_exchange_folder_becomes_private(tmp_path: Path) -> None:
    folder = tmp_path / "exchange"
    folder.mkdir(mode=0o755)
    assert private_folder(folder) == folder.resolve()
    assert mode_of(folder) == 0o700


def test_an_exchange_folder_that_would_take_more_with_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home" / "jane", tmp_path / "work" / "ct"
    for folder in (home, here):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    for folder in (home, home.parent, here, here.parent, Path(here.anchor)):
        with pytest.raises(RequestError, match="removed at the end"):
            private_folder(folder)
    (home / "exchange").mkdir()
    assert private_folder(home / "exchange").name == "exchange"


# --- networks -----------------------------------------------------------------------------------


def test_the_look_at_sockets_sees_them() -> None:
    if not Path("/proc/self/net/tcp").exists():
        pytest.skip("needs Linux's /proc")
    import socket

    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        assert len(listening(os.getpid())) >= 1
    assert all(":0000" not in address for address in listening(os.getpid()))


@linux
def test_a_segmentation_and_the_worker_listen_at_no_address(line: Line) -> None:
    report = line.folder / "sockets"
    faults = {"when_computing": ["sockets", str(report)]}
    given = ["segment", line.folder / "scan.nii.gz", "-o", line.folder / "out", "--model", "tiny"]
    given += ["--lungs", line.folder / "lungs.nii.gz", "--device", "cpu", "--format", "nii.gz"]
    given += ["--engine", "torch", "--no-report"]
    assert line.run(*given, faults=faults).code == 0
    assert set(report.read_text().splitlines()) == {"[]"}

    pipe, root = line.folder / "requests", line.folder / "exchange"
    os.mkfifo(pipe)
    root.mkdir()
    run = line.start("worker", "--exchange", root, stdin=str(pipe))
    with pipe.open("w", encoding="utf-8") as requests:
        options = {"model": "tiny", "device": "cpu"}
        requests.write(json.dumps({"do": "prepare", "id": 1, "options": options}) + "\n")
        requests.flush()
        run.wait_for_text('"event": "done"')
        assert listening(run.pid) == []
        requests.write('{"do": "exit"}\n')
    assert run.wait().code == 0
    assert not root.exists()


ASKED = """
import os, sys, time
import torch
from CovidLesionSegLogic.engine.onnx_parts import OnnxParts

class Half(torch.nn.Module):
    def half(self, x):
        return x / 2

    def forward(self, x):
        return self.half(x)

network = Half()
parts = OnnxParts(network)
print(parts("half", torch.ones(1, 1, 4, 4))[0].sum().item(), parts.engine)
time.sleep(float(sys.argv[1]))
"""


def run_by_onnx_runtime(home: Path, repository: Path, seconds: float, *before: str) -> str:
    """Compute something by ONNX Runtime in a process that looks like no test; what it printed."""
    pytest.importorskip("onnxruntime")
    script = home / "ask.py"
    script.write_text(ASKED)
    environment = {"HOME": str(home), "PYTHONPATH": str(repository), "PATH": os.environ["PATH"]}
    command = [*before, sys.executable, str(script), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_onnx_runtime_notes_no_identifier_of_the_machine(tmp_path: Path, repository: Path) -> None:
    assert run_by_onnx_runtime(tmp_path, repository, 0) == "8.0 onnxruntime"
    assert [path for path in tmp_path.rglob("*") if "Microsoft" in path.parts] == []


@pytest.mark.slow
def test_onnx_runtime_asks_no_server(tmp_path: Path, repository: Path) -> None:
    """Its own threads would, some ten seconds after it was imported."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Testing/debian-packages.txt)")
    seen = tmp_path / "calls"
    traced = [strace, "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(seen)]
    if subprocess.run([*traced, "true"], capture_output=True).returncode != 0:
        pytest.skip("strace may not look at processes here")
    assert run_by_onnx_runtime(tmp_path, repository, 14, *traced) == "8.0 onnxruntime"
    assert "AF_INET" not in seen.read_text()


def test_onnx_runtime_comes_in_by_one_door(repository: Path) -> None:
    wanted = re.compile(r"^[^#\n]*\bimport onnxruntime|^from onnxruntime", re.MULTILINE)
    package = (repository / "CovidLesionSegLogic").rglob("*.py")
    importing = [path.name for path in package if wanted.search(path.read_text("utf-8"))]
    assert importing == ["onnx_silent.py"]


SECRET = "s3cret-Zyzzyva"


def test_a_secret_is_in_no_result_and_no_text_of_an_archive_that_is_gone(
    tmp_path: Path, repository: Path
) -> None:
    """Even with --debug, whose tracebacks and logs hold what libraries say."""
    environment = os.environ | {
        "PYTHONPATH": str(repository),
        "COVIDLESIONSEG_DICOMWEB_USER": "jane",
        "COVIDLESIONSEG_DICOMWEB_PASSWORD": SECRET,
    }
    command = [sys.executable, "-m", "CovidLesionSegLogic", "batch", "--debug", "--no-report"]
    command += ["--dicomweb", "http://127.0.0.1:1/dicom-web", "--study", "1.2.3"]
    command += ["-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode in (2, 3), done.stderr
    texts = [done.stdout, done.stderr]
    texts += [p.read_text("utf-8", "replace") for p in tmp_path.rglob("*") if p.is_file()]
    header = Credentials(user="jane", password=SECRET).header() or ""
    assert not any(secret in text for text in texts for secret in (SECRET, header.split()[1]))
