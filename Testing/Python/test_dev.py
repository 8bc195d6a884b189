"""``dev.py``: which Python, when to install, with which commands, and what errors say."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def dev(repository: Path) -> ModuleType:
    """The script, imported as a module."""
    spec = importlib.util.spec_from_file_location("dev_script", repository / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path, repository: Path, dev: ModuleType) -> Path:
    """A folder with copies of the files that decide what is installed."""
    for name in dev.INPUTS:
        (tmp_path / name).write_bytes((repository / name).read_bytes())
    return tmp_path


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    folder = tmp_path / "environment"
    folder.mkdir()
    return folder


def test_versions_agree_with_the_package(dev: ModuleType, repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10,<3.14"' in text
    assert [dev.supported((3, minor)) for minor in range(8, 16)] == [
        False,
        False,
        True,
        True,
        True,
        True,
        False,
        False,
    ]


def test_windows_asks_its_launcher_first(dev: ModuleType) -> None:
    assert dev.python_commands(windows=True)[0] == ["py", "-3.11"]
    assert dev.python_commands(windows=False)[0] == ["python3.11"]


def test_a_command_that_starts_nothing_is_passed_over(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("makes shell scripts")
    for name, body in (
        ("python3.11", "exit 127"),
        ("python3.12", "echo 3 9"),
        ("python3.13", "echo 3 13"),
    ):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dev.find_python() == ["python3.13"]
    (tmp_path / "python3.13").unlink()
    assert dev.find_python() is None


def test_interpreter_inside_the_environment(dev: ModuleType) -> None:
    assert dev.venv_python(Path("v"), windows=True) == Path("v/Scripts/python.exe")
    assert dev.venv_python(Path("v"), windows=False) == Path("v/bin/python")


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py", "constraints.txt"])
def test_fingerprint_follows_every_input(dev: ModuleType, tree: Path, name: str) -> None:
    before = dev.fingerprint(tree)
    assert dev.fingerprint(tree) == before
    with (tree / name).open("a") as file:
        file.write("# changed\n")
    assert dev.fingerprint(tree) != before


def test_nothing_is_installed_twice(dev: ModuleType, venv: Path) -> None:
    assert dev.missing_extras(venv, "a", dev.DEMO) == dev.DEMO
    dev.write_stamp(venv, "a", dev.DEMO)
    assert dev.missing_extras(venv, "a", dev.DEMO) == frozenset()
    assert dev.missing_extras(venv, "a", dev.EVERYTHING) == {"test"}


def test_changed_versions_refresh_what_was_there(dev: ModuleType, venv: Path) -> None:
    dev.write_stamp(venv, "a", dev.EVERYTHING)
    assert dev.missing_extras(venv, "b", dev.DEMO) == dev.EVERYTHING


@pytest.fixture
def ensure_offline(
    dev: ModuleType, tree: Path, venv: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[frozenset[str]], list[str]]:
    """``ensure`` without the network; returns the steps it took."""

    def ensure(wanted: frozenset[str]) -> list[str]:
        steps: list[str] = []

        def make() -> None:
            steps.append("make")
            shutil.rmtree(venv, ignore_errors=True)
            dev.venv_python(venv).parent.mkdir(parents=True)
            dev.venv_python(venv).touch()

        monkeypatch.setattr(dev, "ROOT", tree)
        monkeypatch.setattr(dev, "VENV", venv)
        monkeypatch.setattr(dev, "make_venv", make)
        monkeypatch.setattr(
            dev,
            "is_healthy",
            lambda v: dev.venv_python(v).exists() and not (v / dev.MARKER).exists(),
        )
        monkeypatch.setattr(dev, "renew_pip", lambda: None)
        monkeypatch.setattr(dev, "install_torch", lambda: steps.append("torch"))
        monkeypatch.setattr(dev, "_pip", lambda *names: steps.append(names[-1].rpartition("[")[2]))
        monkeypatch.setattr(dev, "check_system_libraries", lambda extras: None)
        dev.ensure(wanted)
        return steps

    return ensure


def test_set_up_once_then_nothing(dev: ModuleType, ensure_offline: Callable) -> None:
    assert ensure_offline(dev.DEMO) == ["make", "torch", "fast,report,slicer,torch]"]
    assert ensure_offline(dev.DEMO) == []


def test_later_extras_keep_the_record_of_earlier_ones(
    dev: ModuleType, ensure_offline: Callable
) -> None:
    ensure_offline(dev.DEMO)
    assert ensure_offline(dev.EVERYTHING) == ["torch", "fast,report,slicer,test,torch]"]
    assert ensure_offline(dev.DEMO) == ensure_offline(dev.EVERYTHING) == []


def test_a_cut_off_installation_is_made_afresh(
    dev: ModuleType, venv: Path, ensure_offline: Callable
) -> None:
    ensure_offline(dev.EVERYTHING)
    (venv / dev.MARKER).touch()
    assert ensure_offline(dev.DEMO)[0] == "make"
    assert not (venv / dev.MARKER).exists()


def test_a_lost_interpreter_is_noticed(
    dev: ModuleType, venv: Path, ensure_offline: Callable
) -> None:
    ensure_offline(dev.DEMO)
    dev.venv_python(venv).unlink()
    assert ensure_offline(dev.DEMO)[0] == "make"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": "a"}'])
def test_a_damaged_stamp_counts_as_none(dev: ModuleType, venv: Path, text: str) -> None:
    (venv / dev.STAMP).write_text(text)
    assert dev.read_stamp(venv) == ("", frozenset())


def test_a_cut_off_installation_is_not_trusted(dev: ModuleType, venv: Path) -> None:
    dev.write_stamp(venv, "a", dev.DEMO)
    (venv / dev.MARKER).touch()
    assert dev.missing_extras(venv, "a", dev.DEMO) == dev.DEMO
    assert not dev.is_healthy(venv)


def test_a_folder_without_interpreter_is_not_healthy(dev: ModuleType, venv: Path) -> None:
    assert not dev.is_healthy(venv)


def test_versions_come_from_the_constraints(dev: ModuleType, tree: Path) -> None:
    (tree / "constraints.txt").write_text(
        "# text\ntorchmetrics==9\ntorch==2.13.0\nNumPy==2.3.4 ; python_version >= '3.11'\n"
    )
    assert dev.pinned(tree, "torch") == "2.13.0"
    assert dev.pinned(tree, "numpy") == "2.3.4"
    with pytest.raises(dev.SetupError, match="pins no version of scipy"):
        dev.pinned(tree, "scipy")


def test_constraints_name_no_build_of_a_library(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert any(line.startswith("torch==") for line in pins)
    assert [line for line in pins if "==" not in line or "+" in line or "@" in line] == []


def test_install_command(dev: ModuleType, tree: Path, venv: Path) -> None:
    project = dev.project_requirement(tree, {"torch", "report"})
    command = dev.pip_command(venv, tree, tree / "report.json", "-e", project)
    assert command[0] == str(dev.venv_python(venv))
    assert command[command.index("-c") + 1] == str(tree / "constraints.txt")
    assert command[command.index("--report") + 1] == str(tree / "report.json")
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert command[-2:] == ["-e", f"{tree}[report,torch]"]


@pytest.mark.parametrize(
    ("system", "nvidia", "expected"),
    [("Linux", False, True), ("Linux", True, False), ("Darwin", False, False)],
)
def test_cpu_build_of_torch(dev: ModuleType, system: str, nvidia: bool, expected: bool) -> None:
    assert dev.prefers_cpu_torch(system, nvidia) is expected


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("The virtual environment was not created because ensurepip is not available", "venv"),
        ("WARNING: Retrying ... NewConnectionError: Name or service not known", "network"),
        (
            "Temporary failure in name resolution\nERROR: No matching distribution found for x",
            "network",
        ),
        ("ERROR: No matching distribution found for vtk==9.6.2", "unavailable"),
        ("PermissionError: [Errno 13] Permission denied: 'x'", "permission"),
        ("no such option: --report", "pip"),
        ("something new", "other"),
    ],
)
def test_complaints_are_understood(dev: ModuleType, output: str, cause: str) -> None:
    assert dev.diagnose(output) == cause
    assert dev.ADVICE[cause].strip()


@pytest.mark.parametrize(
    ("line", "news"),
    [
        ("Downloading vtk-9.6.2-cp311.whl (146.0 MB)", "fetching vtk-9.6.2-cp311.whl (146.0 MB)"),
        ("Downloading simple/x-1.whl (1 kB)", "fetching x-1.whl (1 kB)"),
        ("Using cached x-1.whl (1 kB)", "already fetched x-1.whl (1 kB)"),
        ("Processing ./wheels/torch-2.whl (from -c constraints.txt)", "taking torch-2.whl"),
        ("Installing collected packages: a, b, c", "unpacking 3 packages"),
        ("Requirement already satisfied: numpy", ""),
        ("", ""),
    ],
)
def test_news_of_pip(dev: ModuleType, line: str, news: str) -> None:
    assert dev.pip_news(line) == news


def test_exit_statuses(dev: ModuleType) -> None:
    assert [dev.exit_status(code) for code in (0, 3, -signal.SIGINT, -9)] == [0, 3, 130, 137]
    assert dev.run([sys.executable, "-c", "raise SystemExit(4)"]) == 4


def test_errors_of_a_command_come_back(dev: ModuleType, capsys: pytest.CaptureFixture) -> None:
    code = "import sys; print('Downloading a.whl (1 MB)'); sys.exit('no luck')"
    status, errors = dev.run_pip([sys.executable, "-c", code])
    assert (status, errors.strip()) == (1, "no luck")
    assert "fetching a.whl (1 MB)" in capsys.readouterr().out


@pytest.fixture
def pip_answers(
    dev: ModuleType, tree: Path, venv: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, tuple[int, str]]], list[str]]:
    """Give pip's answers by requirement; returns the requirements asked for, as they come."""

    def prepare(answers: dict[str, tuple[int, str]], fetched: str = '{"install": []}') -> list[str]:
        asked: list[str] = []

        def run_pip(command: list[str]) -> tuple[int, str]:
            asked.append(command[-1])
            Path(command[command.index("--report") + 1]).write_text(fetched)
            return answers[command[-1]]

        monkeypatch.setattr(dev, "ROOT", tree)
        monkeypatch.setattr(dev, "VENV", venv)
        monkeypatch.setattr(dev, "run_pip", run_pip)
        monkeypatch.setattr(dev, "prefers_cpu_torch", lambda *_: True)
        monkeypatch.setattr(dev, "venv_python", lambda *_: Path(sys.executable))
        (tree / "constraints.txt").write_text("torch==0.0.1\n")
        (venv / dev.MARKER).touch()
        return asked

    return prepare


def fetched(name: str, digest: str) -> str:
    """A report of pip about one wheel."""
    info = {
        "url": f"https://example.org/files/{name}",
        "archive_info": {"hashes": {"sha256": digest}},
    }
    return json.dumps({"install": [{"download_info": info}]})


def test_every_pin_has_checksums(dev: ModuleType, repository: Path) -> None:
    known = dev.known_hashes(repository)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in known.values())
    wheels = {re.sub(r"-(py|cp)\d.*", "", name.lower().replace("_", "-")) for name in known}
    for line in (repository / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition(";")[0].strip().partition("==")
            assert f"{name.lower().replace('_', '-')}-{version}" in wheels, line


def test_files_are_told_by_their_checksums(dev: ModuleType) -> None:
    known = {"torch-2+cpu-cp311-none-any.whl": "aa", "zict-3-py3-none-any.whl": "bb"}
    items = [
        {"download_info": {"url": "https://x/torch-2%2Bcpu-cp311-none-any.whl",
                           "archive_info": {"hashes": {"sha256": "aa"}}}},
        {"download_info": {"url": "file:///y/zict-3-py3-none-any.whl",
                           "archive_info": {"hashes": {"sha256": "cc"}}}},
        {"download_info": {"url": "file:///y/new-1-py3-none-any.whl",
                           "archive_info": {"hashes": {"sha256": "dd"}}}},
        {"download_info": {"url": "file:///project", "dir_info": {"editable": True}}},
    ]  # fmt: skip
    assert dev.compare_hashes({"install": items}, known) == (
        ["zict-3-py3-none-any.whl"], ["new-1-py3-none-any.whl"]
    )  # fmt: skip


def test_an_old_report_of_pip_states_the_checksum_in_another_way(dev: ModuleType) -> None:
    """pip 22.3, with Python 3.11.0 to 3.11.3 and 3.10.10."""
    info = {"url": "https://x/a-1-py3-none-any.whl", "archive_info": {"hash": "sha256=aa"}}
    report = {"install": [{"download_info": info}]}
    name = "a-1-py3-none-any.whl"
    assert dev.compare_hashes(report, {name: "aa"}) == ([], [])
    assert dev.compare_hashes(report, {name: "bb"}) == ([name], [])


@pytest.mark.parametrize(
    ("version", "wheel", "said"),
    [
        ("pip 22.0.2 from /x (python 3.10)", b"good", None),
        ("pip 22.0.2 from /x (python 3.10)", b"bad", "^pip-9-py3-none-any.whl: not what hashes"),
        ("pip 22.2 from /x (python 3.10)", None, None),
        ("pip 25.3 from /x (python 3.13)", None, None),
    ],
)
def test_an_old_pip_is_replaced_by_a_known_one(
    dev: ModuleType, tree: Path, venv: Path, monkeypatch: pytest.MonkeyPatch,
    version: str, wheel: bytes | None, said: str | None,
) -> None:  # fmt: skip
    name = "pip-9-py3-none-any.whl"
    digest = hashlib.sha256(b"good").hexdigest()
    (tree / "constraints.txt").write_text("pip==9\n")
    (tree / "hashes.txt").write_text(f"{digest}  {name}\n")
    asked: list[list[str]] = []

    def run_pip(command: list[str]) -> tuple[int, str]:
        asked.append(command)
        if "download" in command:
            assert wheel is not None
            Path(command[command.index("-d") + 1], name).write_bytes(wheel)
        return 0, ""

    monkeypatch.setattr(dev, "ROOT", tree)
    monkeypatch.setattr(dev, "VENV", venv)
    monkeypatch.setattr(dev, "run_pip", run_pip)
    monkeypatch.setattr(
        dev.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, version, "")
    )
    if said is None:
        dev.renew_pip()
        assert ["install" in one for one in asked] == ([] if wheel is None else [False, True])
    else:
        with pytest.raises(dev.SetupError, match=said):
            dev.renew_pip()
        assert not any("install" in one for one in asked)


def test_a_file_of_another_checksum_is_never_used(
    dev: ModuleType, pip_answers: Callable, tree: Path, venv: Path
) -> None:
    name = next(iter(dev.known_hashes(tree)))
    pip_answers({"torch==0.0.1+cpu": (0, "")}, fetched(name, "0" * 64))
    with pytest.raises(dev.SetupError, match=f"^{re.escape(name)}: not what hashes.txt states"):
        dev.install_torch()
    assert (venv / dev.MARKER).exists()  # so it is made afresh
    pip_answers({"torch==0.0.1+cpu": (0, "")}, fetched(name, dev.known_hashes(tree)[name]))
    dev.install_torch()


def test_a_file_that_is_unknown_is_named(
    dev: ModuleType, pip_answers: Callable, capsys: pytest.CaptureFixture
) -> None:
    pip_answers({"torch==0.0.1+cpu": (0, "")}, fetched("torch-0.0.1%2Bcpu-any.whl", "0" * 64))
    dev.install_torch()
    assert "taken on trust: torch-0.0.1+cpu-any.whl" in capsys.readouterr().out


def test_the_cpu_build_is_enough(dev: ModuleType, pip_answers: Callable) -> None:
    asked = pip_answers({"torch==0.0.1+cpu": (0, "")})
    dev.install_torch()
    assert asked == ["torch==0.0.1+cpu"]


def test_without_cpu_build_the_standard_one_follows(
    dev: ModuleType, pip_answers: Callable, capsys: pytest.CaptureFixture
) -> None:
    none = "ERROR: No matching distribution found for torch==0.0.1+cpu"
    asked = pip_answers({"torch==0.0.1+cpu": (1, none), "torch==0.0.1": (0, "")})
    dev.install_torch()
    assert asked == ["torch==0.0.1+cpu", "torch==0.0.1"]
    assert "some 3 GB" in capsys.readouterr().out


def test_without_network_nothing_else_is_tried(
    dev: ModuleType, venv: Path, pip_answers: Callable
) -> None:
    asked = pip_answers({"torch==0.0.1+cpu": (1, "NewConnectionError: no route")})
    with pytest.raises(dev.SetupError, match="Check the network"):
        dev.install_torch()
    assert asked == ["torch==0.0.1+cpu"]
    assert not (venv / dev.MARKER).exists()


def test_a_full_disk_leaves_the_mark_for_the_next_run(
    dev: ModuleType, venv: Path, pip_answers: Callable
) -> None:
    pip_answers({"torch==0.0.1+cpu": (1, "[Errno 28] No space left on device")})
    with pytest.raises(dev.SetupError, match="disk is full"):
        dev.install_torch()
    assert (venv / dev.MARKER).exists()


def test_missing_shared_libraries_are_named(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "libGL.so.1: cannot open shared object file"
    monkeypatch.setattr(dev, "venv_python", lambda *_: Path(sys.executable))
    monkeypatch.setattr(
        dev, "SYSTEM_LIBRARIES", {"test": (f"raise ImportError({message!r})", "libgl1")}
    )
    with pytest.raises(dev.SetupError, match=r"libGL\.so\.1.*apt-get install libgl1"):
        dev.check_system_libraries(["report", "test"])
    dev.check_system_libraries(["report"])


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--help"], 0, "demo [CT] [-o DIR]"),
        ([], 2, "dev.py setup"),
        (["tset"], 2, "no command 'tset'"),
        (["lint", "--fix"], 2, "lint takes no options"),
    ],
)
def test_wrong_use(repository: Path, arguments: list[str], status: int, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(repository / "dev.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert text in done.stdout + done.stderr


def test_options_reach_pytest_without_lint(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(dev, "ensure", lambda wanted: None)
    monkeypatch.setattr(dev, "run", lambda command, cwd=None: calls.append(list(command)) or 0)
    assert dev.main(["test", "-k", "a or b"]) == 0
    assert [call[1:] for call in calls] == [["-m", "pytest", "-k", "a or b"]]


def test_lint_failure_fails_the_whole_check(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def run(command: list[str], cwd: Path | None = None) -> int:
        calls.append(next(word for word in command[1:] if word != "-m"))
        return 1 if calls[-1] == "mypy" else 0

    monkeypatch.setattr(dev, "ensure", lambda wanted: None)
    monkeypatch.setattr(dev, "run", run)
    assert dev.main(["test"]) == 1
    assert calls == ["ruff", "ruff", "mypy", "pytest", "Testing/coverage_by_room.py"]


def test_demo_installs_no_test_tools(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[frozenset[str]] = []
    monkeypatch.setattr(dev, "ensure", wanted.append)
    monkeypatch.setattr(dev, "run", lambda command, cwd=None: 3)
    assert dev.main(["demo", "ct.nii.gz", "-o", "out"]) == 3
    assert wanted == [frozenset({"torch", "slicer", "report", "fast"})]


def test_the_stamp_is_plain_json(dev: ModuleType, venv: Path) -> None:
    dev.write_stamp(venv, "a", {"test", "torch"})
    assert json.loads((venv / dev.STAMP).read_text()) == {
        "fingerprint": "a",
        "extras": ["test", "torch"],
    }
    assert sorted(path.name for path in venv.iterdir()) == [dev.STAMP]
