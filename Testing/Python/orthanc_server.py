"""A real PACS for tests: Orthanc with its DICOMweb plugin on a free loopback port.

It keeps everything in a temporary folder, asks for a password, opens no DICOM port, and has nothing
to do with an Orthanc that the machine may run as a service.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 30.0
PLUGIN = "libOrthancDicomWeb.so"
PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")


@dataclass(frozen=True)
class OrthancServer:
    """A running Orthanc; ``log`` is the file with its output."""

    url: str
    user: str
    password: str
    version: str
    log: Path


def find_program() -> tuple[str, str] | None:
    """Paths of Orthanc and of its DICOMweb plugin; None where one of them is not installed."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    plugin = next((p for f in PLUGIN_FOLDERS if (p := Path(f, PLUGIN)).is_file()), None)
    return (program, str(plugin)) if program and plugin else None


def free_port() -> int:
    """A loopback TCP port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running() -> Iterator[OrthancServer]:
    """Start an empty Orthanc, yield it, stop it and remove its folder."""
    found = find_program()
    if found is None:
        pytest.skip(
            "Orthanc with its DICOMweb plugin is not installed (Testing/debian-packages.txt)"
        )
    with tempfile.TemporaryDirectory(prefix="orthanc-test-", ignore_cleanup_errors=True) as name:
        server, child = _start(*found, Path(name))
        try:
            yield server
        finally:
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _start(
    program: str, plugin: str, folder: Path
) -> tuple[OrthancServer, subprocess.Popen[bytes]]:
    """Start Orthanc; again on another port where somebody was faster."""
    for _ in range(5):
        port, user, password = free_port(), "tester", secrets.token_urlsafe(16)
        settings = {
            "Name": "Test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [plugin],
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {user: password},
            "DicomServerEnabled": False,
            "OrthancExplorerEnabled": False,
            "ConcurrentJobs": 1,
            "HttpThreadsCount": 8,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        log = folder / "orthanc.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [program, str(folder / "orthanc.json")],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        root = f"http://127.0.0.1:{port}"
        version = _wait_until_ready(child, root, user, password)
        if version is not None:
            return OrthancServer(f"{root}/dicom-web", user, password, version, log), child
    text = log.read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"Orthanc does not start:\n{text[-2000:]}")


def _wait_until_ready(
    child: subprocess.Popen[bytes], root: str, user: str, password: str
) -> str | None:
    """Orthanc's version once it answers; None when it ended before."""
    token = b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(f"{root}/system", headers={"Authorization": f"Basic {token}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and child.poll() is None:
        try:
            with direct.open(request, timeout=5) as answer:
                return str(json.load(answer)["Version"])
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.05)
    child.kill()
    child.wait()
    return None
