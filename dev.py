#!/usr/bin/env python3
"""Set up, try, test and check CovidLesionSeg.

    python3 dev.py setup             make or refresh the environment in .venv
    python3 dev.py demo [CT] [-o DIR]    segment the built-in sample, or CT, into DIR
    python3 dev.py test [pytest options] lint, all tests, coverage; with options, only those tests
    python3 dev.py lint              ruff and mypy
    python3 dev.py bench [--quick] [--json FILE] [CT]    measure speed and memory on this machine

Only the standard library and Python 3.10-3.13 are needed; everything else is installed into .venv
beside this file, at the versions in constraints.txt, and again only when these change.  Once
installed, nothing needs the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = "covid-lesion-seg.json"  # in .venv, written last: its presence means "complete"
MARKER = "covid-lesion-seg.installing"  # in .venv, present while pip is changing it
INPUTS = ("pyproject.toml", "setup.py", "constraints.txt", "hashes.txt")
VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 10))  # in order of preference
DEMO = frozenset({"torch", "slicer", "report", "fast"})
EVERYTHING = DEMO | {"test"}
FREE_GB_NEEDED = 4.0
MOST_TESTERS = 4
CANCELLED = 130
OLDEST_PIP = (22, 2)  # whose --report names what was installed
WRONG_FILES = (
    "{}: not what hashes.txt states, so the source of packages gave other files than this project "
    "was tested with. Nothing of them was run; check where pip takes packages from, then run this "
    "again."
)

# Shared libraries that no wheel carries, asked for by the import of the right-hand module.
SYSTEM_LIBRARIES = {
    "slicer": ("import vtk, slicer", "libstdc++6"),
    "test": ("import PySide6.QtWidgets", "libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1"),
}


class SetupError(Exception):
    """The environment could not be made; the message says why and what to do."""


# --- which Python -------------------------------------------------------------------------------


def supported(version: Sequence[int]) -> bool:
    """Whether a Python of this (major, minor, …) version can run the project."""
    return tuple(version[:2]) in VERSIONS


def python_commands(windows: bool) -> list[list[str]]:
    """Commands that may start a supported Python, best first."""
    names = [f"{major}.{minor}" for major, minor in VERSIONS]
    launcher = [["py", f"-{name}"] for name in names] if windows else []
    return launcher + [[f"python{name}"] for name in names]


def find_python() -> list[str] | None:
    """Return the first command that really starts a supported Python, or None."""
    for command in python_commands(os.name == "nt"):
        if shutil.which(command[0]) is None:
            continue
        # A pyenv or Windows Store stand-in is on PATH but starts nothing: ask it.
        answer = subprocess.run(
            [*command, "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
        )
        if answer.returncode == 0 and supported([int(part) for part in answer.stdout.split()]):
            return command
    return None


# --- the environment's state --------------------------------------------------------------------


def venv_python(venv: Path, windows: bool | None = None) -> Path:
    """Path of the interpreter inside a virtual environment."""
    if windows is None:
        windows = os.name == "nt"
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def fingerprint(root: Path) -> str:
    """Return a hash over everything that decides what is installed, and where it lies."""
    digest = hashlib.sha256(str(root).encode())
    for name in INPUTS:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def read_stamp(venv: Path) -> tuple[str, frozenset[str]]:
    """Fingerprint and extras of the last complete installation; empty where there is none."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return str(stamp["fingerprint"]), frozenset(stamp["extras"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", frozenset()


def write_stamp(venv: Path, digest: str, extras: Iterable[str]) -> None:
    """Record a complete installation."""
    text = json.dumps({"fingerprint": digest, "extras": sorted(extras)})
    beside = venv / (STAMP + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, venv / STAMP)


def missing_extras(venv: Path, digest: str, wanted: frozenset[str]) -> frozenset[str]:
    """Extras to install: none when all is in place, all known ones when the versions changed."""
    if (venv / MARKER).exists():
        return wanted
    old_digest, installed = read_stamp(venv)
    if old_digest == digest:
        return wanted - installed
    return wanted | installed


def is_healthy(venv: Path) -> bool:
    """Whether the environment starts, has pip, and no installation was cut off in it."""
    if (venv / MARKER).exists():
        return False
    try:
        command = [str(venv_python(venv)), "-c", "import pip, sys; print(*sys.version_info[:2])"]
        answer = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return False
    return answer.returncode == 0 and supported([int(part) for part in answer.stdout.split()])


# --- installing ---------------------------------------------------------------------------------


def pinned(root: Path, package: str) -> str:
    """Version of a package in constraints.txt."""
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        if name.lower() == package:
            return version
    raise SetupError(f"constraints.txt pins no version of {package}.")


def pip_command(venv: Path, root: Path, report: Path, *requirements: str) -> list[str]:
    """Command that installs requirements at the pinned versions and reports what it took.

    Wheels only: they run no code while they are installed, so their checksums can be compared
    afterwards.
    """
    constraints = str(root / "constraints.txt")
    pip = [str(venv_python(venv)), "-m", "pip", "--disable-pip-version-check", "install"]
    return [*pip, "--only-binary", ":all:", "--report", str(report), "-c", constraints,
            *requirements]  # fmt: skip


def known_hashes(root: Path) -> dict[str, str]:
    """File name -> SHA-256 of the files behind constraints.txt, for every supported system."""
    lines = (root / "hashes.txt").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def compare_hashes(report: dict[str, Any], known: dict[str, str]) -> tuple[list[str], list[str]]:
    """Names of installed files with another checksum than the known one, and of unknown files."""
    wrong: list[str] = []
    unknown: list[str] = []
    for item in report["install"]:
        archive = item["download_info"].get("archive_info")
        if archive is None:  # the project itself
            continue
        name = unquote(item["download_info"]["url"].rpartition("/")[2])
        # pip 22.2 and 22.3 state it as "sha256=..." only
        digest = (
            archive.get("hashes", {}).get("sha256") or archive.get("hash", "").partition("=")[2]
        )
        if name not in known:
            unknown.append(name)
        elif known[name] != digest:
            wrong.append(name)
    return wrong, unknown


def check_hashes(report: Path) -> None:
    """Raise SetupError where a file that was installed is not the one that is known."""
    found = json.loads(report.read_text(encoding="utf-8"))
    wrong, unknown = compare_hashes(found, known_hashes(ROOT))
    if wrong:
        raise SetupError(WRONG_FILES.format(", ".join(wrong)))
    if unknown:
        say(f"not in hashes.txt, so taken on trust: {', '.join(unknown)}")


def project_requirement(root: Path, extras: Iterable[str]) -> str:
    """Requirement (to follow ``-e``) for the project itself with some extras."""
    return f"{root}[{','.join(sorted(extras))}]"


def prefers_cpu_torch(system: str, has_nvidia: bool) -> bool:
    """Whether to look for a CPU build first: only Linux's default build drags in CUDA."""
    return system == "Linux" and not has_nvidia


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is at work on this machine."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


SIGNS = {  # what pip or venv writes, in lower case, and what it means; the first match counts
    "disk": ("no space left", "errno 28"),
    "venv": ("ensurepip", "no module named venv"),
    "network": (
        "newconnectionerror",
        "connection aborted",
        "connection broken",
        "connection refused",
        "connecttimeout",
        "getaddrinfo failed",
        "max retries exceeded",
        "name or service not known",
        "name resolution",
        "network is unreachable",
        "proxyerror",
        "read timed out",
        "sslerror",
    ),
    "pip": ("no such option",),
    "unavailable": ("no matching distribution", "resolutionimpossible"),
    "permission": ("permission denied", "access is denied"),
}
ADVICE = {
    "disk": f"The disk is full. About {FREE_GB_NEEDED:.0f} GB are needed; then run this again.",
    "venv": (
        "This Python cannot make virtual environments. On Debian and Ubuntu: "
        f"sudo apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    ),
    "network": (
        "The packages could not be fetched. Check the network connection (behind a proxy, set "
        "HTTPS_PROXY) and run this again; what was fetched is kept."
    ),
    "pip": (
        "This Python brings a pip older than 22.2, which cannot name what it installs: use a newer "
        "release of Python 3.10 to 3.13."
    ),
    "unavailable": (
        "A pinned package does not exist for this machine and Python "
        f"{platform.python_version()} ({platform.system()} {platform.machine()}); see the lines "
        "above. Meant to work: Linux and Windows on x86-64, macOS on Apple silicon."
    ),
    "permission": f"No permission to write into {VENV}; check who owns that folder.",
    "other": "The installation failed; the lines above say why.",
}


def diagnose(output: str) -> str:
    """Name what pip or venv complained about: a key of ADVICE."""
    text = output.lower()
    for cause, signs in SIGNS.items():
        if any(sign in text for sign in signs):
            return cause
    return "other"


def run(command: Sequence[str], cwd: Path | None = None) -> int:
    """Run a command in the foreground; return its exit status, 130 when interrupted."""
    child = subprocess.Popen(command, cwd=cwd)
    return _wait(child)


def run_pip(command: Sequence[str]) -> tuple[int, str]:
    """Run pip, saying what it fetches and unpacks; return its exit status and its complaints."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, errors="replace"
        )
        try:
            for line in child.stdout or ():
                news = pip_news(line.strip())
                if news:
                    print(f"  {news}", flush=True)
        except KeyboardInterrupt:
            _wait(child)
            raise
        status = _wait(child)
        complaints.seek(0)
        return status, complaints.read()


def pip_news(line: str) -> str:
    """Return what a line of pip's output tells a waiting person; empty where it tells nothing."""
    first, _, rest = line.partition(" ")
    if first == "Downloading" and rest:
        return "fetching " + rest.rpartition("/")[2]
    if line.startswith("Using cached "):
        return "already fetched " + line[len("Using cached ") :].rpartition("/")[2]
    if first == "Processing" and rest:
        return "taking " + Path(rest.partition(" (from ")[0]).name
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages"
    return ""


def _wait(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> int:
    """Wait for a child; on Ctrl-C (which it received too) give it time to end by itself."""
    try:
        return exit_status(child.wait())
    except KeyboardInterrupt:
        try:
            child.wait(timeout=15)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()
            child.wait()
        return CANCELLED


def exit_status(returncode: int) -> int:
    """Exit status as a shell gives it: a child ended by signal n gives 128 + n."""
    return 128 - returncode if returncode < 0 else returncode


def say(text: str) -> None:
    print(f"dev.py: {text}", flush=True)


def make_venv() -> None:
    """Make .venv afresh, removing what an earlier attempt left."""
    if VENV.exists():
        say("the environment in .venv is incomplete or broken; making it afresh")
        shutil.rmtree(VENV)
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < FREE_GB_NEEDED:
        raise SetupError(
            f"Only {free:.1f} GB are free here and about {FREE_GB_NEEDED:.0f} GB are needed; "
            "make room and run the command again."
        )
    say(f"making .venv with Python {platform.python_version()}")
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.stderr.write(done.stdout + done.stderr)
        raise SetupError(ADVICE[diagnose(done.stdout + done.stderr)])


def renew_pip() -> None:
    """Replace a pip that cannot name what it installs, such as that of Ubuntu 22.04."""
    pip = [str(venv_python(VENV)), "-m", "pip", "--disable-pip-version-check"]
    answer = subprocess.run([*pip, "--version"], capture_output=True, text=True)
    words = answer.stdout.split()  # "pip 22.0.2 from ..."
    numbers = words[1].split(".")[:2] if len(words) > 1 else []
    if tuple(int(number) for number in numbers if number.isdigit()) >= OLDEST_PIP:
        return
    version = pinned(ROOT, "pip")
    say(f"installing pip {version} (the one of this Python is too old)")
    with tempfile.TemporaryDirectory() as folder:
        only = ["--no-deps", "--only-binary", ":all:"]
        _ended(run_pip([*pip, "download", *only, "-d", folder, f"pip=={version}"]))
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != known_hashes(ROOT).get(wheel.name):
            raise SetupError(WRONG_FILES.format(wheel.name))
        _ended(run_pip([*pip, "install", "--no-index", "--no-deps", str(wheel)]))


def _ended(answer: tuple[int, str]) -> None:
    """Raise KeyboardInterrupt or SetupError where pip did not succeed."""
    status, errors = answer
    if status == CANCELLED:
        raise KeyboardInterrupt
    if status:
        sys.stderr.write(errors)
        raise SetupError(ADVICE[diagnose(errors)])


def install_torch() -> None:
    """Install torch by itself first, as a CPU build where that saves gigabytes."""
    version = pinned(ROOT, "torch")
    query = "from importlib.metadata import version; print(version('torch'))"
    answer = subprocess.run([str(venv_python(VENV)), "-c", query], capture_output=True, text=True)
    if answer.stdout.strip().partition("+")[0] == version:
        return
    if not prefers_cpu_torch(platform.system(), has_nvidia_gpu()):
        say(f"installing torch {version}")
        _pip(f"torch=={version}")
        return
    say(f"installing torch {version} for the CPU (no NVIDIA driver found; about 200 MB)")
    if not _pip(f"torch=={version}+cpu", optional=True):
        say(
            "pip's settings name no source of CPU builds, so the standard build follows, with CUDA "
            "libraries of some 3 GB; PyTorch's own installation page says how to name that source"
        )
        _pip(f"torch=={version}")


def _pip(*requirements: str, optional: bool = False) -> bool:
    """Install; False where an optional requirement does not exist, else SetupError on failure."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        status, errors = run_pip(pip_command(VENV, ROOT, report, *requirements))
        if status == CANCELLED:
            raise KeyboardInterrupt
        if status == 0:
            check_hashes(report)
            return True
    cause = diagnose(errors)
    if optional and cause == "unavailable":
        return False
    sys.stderr.write(errors)
    if cause in ("network", "unavailable"):
        (VENV / MARKER).unlink()  # pip changes nothing before it has fetched everything
    raise SetupError(ADVICE[cause])


def check_system_libraries(extras: Iterable[str]) -> None:
    """Raise SetupError naming Debian's packages when an import lacks a shared library."""
    for extra in extras:
        if extra not in SYSTEM_LIBRARIES:
            continue
        statement, packages = SYSTEM_LIBRARIES[extra]
        done = subprocess.run(
            [str(venv_python(VENV)), "-c", statement], capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            hint = (
                f" On Debian and Ubuntu: sudo apt-get install {packages}"
                if "cannot open shared object" in last
                else ""
            )
            raise SetupError(f"'{statement}' failed: {last}.{hint}")


def ensure(wanted: frozenset[str]) -> None:
    """Make .venv hold the project with the wanted extras; quick when it already does."""
    digest = fingerprint(ROOT)
    todo = missing_extras(VENV, digest, wanted)
    if not todo and venv_python(VENV).exists():
        return
    began = time.monotonic()
    if is_healthy(VENV):
        todo |= read_stamp(VENV)[1]
    else:
        make_venv()
        todo |= wanted
    (VENV / STAMP).unlink(missing_ok=True)
    (VENV / MARKER).touch()
    renew_pip()
    install_torch()
    say(f"installing the project with: {', '.join(sorted(todo))} (1 GB; with CUDA 4 GB)")
    _pip("-e", project_requirement(ROOT, todo))
    (VENV / MARKER).unlink()
    check_system_libraries(sorted(todo))
    write_stamp(VENV, digest, todo)
    say(f"the environment is ready ({time.monotonic() - began:.0f} s)")


# --- commands -----------------------------------------------------------------------------------


def lint() -> int:
    """Run ruff (rules, layout) and mypy; return 0 or the first failing status."""
    python = str(venv_python(VENV))
    worst = 0
    for tool in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        say(" ".join(tool))
        status = run([python, "-m", *tool], cwd=ROOT)
        if status == CANCELLED:
            return status
        worst = worst or status
    return worst


def all_tests(cores: int) -> list[str]:
    """Options of pytest for everything: some files at a time (each takes 1 to 3 GB), measured."""
    return ["-n", str(min(cores, MOST_TESTERS)), "--dist", "loadfile", "--cov", "--cov-report="]


def command_test(options: Sequence[str]) -> int:
    """Lint, all tests, and how much of the package they ran; with options only those tests.

    Every part is shown even if one before it fails.
    """
    ensure(EVERYTHING)
    python = str(venv_python(VENV))
    if options:
        return run([python, "-m", "pytest", *options], cwd=ROOT)
    status = 0
    for part in (
        lint,
        lambda: run([python, "-m", "pytest", *all_tests(os.cpu_count() or 1)], cwd=ROOT),
        lambda: run([python, "Testing/coverage_by_room.py"], cwd=ROOT),
    ):
        one = part()
        if one == CANCELLED:
            return one
        status = status or one
    return status


def command_package(command: str, options: Sequence[str]) -> int:
    """Run one of the package's own commands in the caller's folder."""
    ensure(DEMO)
    return run([str(venv_python(VENV)), "-m", "CovidLesionSegLogic", command, *options])


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status."""
    command, options = (arguments[0], list(arguments[1:])) if arguments else ("help", [])
    if command in ("help", "-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    if command not in ("setup", "demo", "test", "lint", "bench"):
        print(f"dev.py: error: no command '{command}'; see dev.py --help", file=sys.stderr)
        return 2
    if command in ("setup", "lint") and options:
        print(f"dev.py: error: {command} takes no options", file=sys.stderr)
        return 2
    if not supported(sys.version_info[:2]):
        other = find_python()
        if other is None:
            print(
                f"dev.py: error: this is Python {platform.python_version()}; install Python "
                "3.10, 3.11, 3.12 or 3.13 and run it with that.",
                file=sys.stderr,
            )
            return 2
        return run([*other, str(ROOT / "dev.py"), *arguments])
    try:
        if command in ("demo", "bench"):
            return command_package(command, options)
        if command == "test":
            return command_test(options)
        ensure(EVERYTHING)
        return lint() if command == "lint" else 0
    except SetupError as error:
        print(f"dev.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dev.py: cancelled", file=sys.stderr)
        return CANCELLED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
