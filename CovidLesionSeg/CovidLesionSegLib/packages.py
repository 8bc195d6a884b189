"""Python packages that a run needs and Slicer may lack: which are missing, and getting them.

Looked up at every call, since packages come and go while Slicer runs. Nothing here opens a window
but :func:`install`, which the panel calls after asking.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
TORCH = "torch"
SIZES = {
    TORCH: "200 MB for processors, 2 to 3 GB with CUDA",
    "matplotlib": "20 MB",
    "scipy": "35 MB",
    "safetensors": "0.5 MB",
}
"""About what is downloaded."""


def needed() -> list[str]:
    """Names of the packages: those of the requirements file and torch."""
    text = REQUIREMENTS.read_text("utf-8")
    return [*re.findall(r"^[A-Za-z][\w-]*", text, re.MULTILINE), TORCH]


def question(names: Sequence[str]) -> str:
    """What the user is asked before ``names`` are installed, with sizes."""
    from slicer.i18n import tr as _

    lines = "\n".join(f"- {name} ({SIZES.get(name, _('size unknown'))})" for name in names)
    return _(
        "The segmentation needs Python packages that Slicer lacks:\n\n{lines}\n\nInstall them "
        "into Slicer now? They are downloaded from the internet, once."
    ).format(lines=lines)


def missing(names: Sequence[str] | None = None) -> list[str]:
    """Those of ``names`` (None: of all needed ones) that cannot be imported; imports none."""
    return [name for name in (needed() if names is None else names) if not _isInstalled(name)]


def _isInstalled(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # imported by something that hides where from
        return True
    # A half-removed package leaves its folder, which Python takes for a package without a file.
    return spec is not None and spec.origin is not None


def check() -> None:
    """Raise CovidLesionSegError, saying how to install them, when packages are missing."""
    from CovidLesionSegLogic.errors import CovidLesionSegError

    names = missing()
    if not names:
        return
    ways = []
    if set(names) - {TORCH}:
        ways.append(f'run: PythonSlicer -m pip install -r "{REQUIREMENTS}"')
    if TORCH in names:
        ways.append("install the extension PyTorch and, in its module PyTorch Utils, torch")
    raise CovidLesionSegError(
        f"Slicer lacks Python packages that a run needs: {', '.join(names)}. Press Apply in the "
        f"module COVID-19 Lesion Segmentation, which offers to install them, or "
        f"{'; '.join(ways)}."
    )


def install(names: Sequence[str]) -> None:
    """Install ``names``; on the main thread of a Slicer with a window, after the user agreed.

    PyTorch's own installer asks again, since it chooses the build and downloads far more.

    :raises: CovidLesionSegError: the extension PyTorch is missing, Slicer is too old, the user
      declined torch, pip failed, or a package is still missing.
    """

    # Before anything is downloaded: without the extension the rest would be of no use.
    torchLogic = _torchInstaller() if TORCH in names else None
    others = [name for name in names if name != TORCH]
    if others:
        _pipInstall(others)
    if torchLogic is not None:
        _installTorch(torchLogic)
    importlib.invalidate_caches()
    check()


def _torchInstaller():
    from CovidLesionSegLogic.errors import CovidLesionSegError

    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise CovidLesionSegError(
            "PyTorch is missing, and so is the Slicer extension that installs it: install "
            "'PyTorch' in View > Extensions Manager, restart Slicer and press Apply again."
        ) from error
    return PyTorchUtils.PyTorchUtilsLogic()


def _installTorch(torchLogic) -> None:
    from CovidLesionSegLogic.errors import CovidLesionSegError

    try:
        torch = torchLogic.installTorch(askConfirmation=True)
    # It imports what it installed, which fails in all of these ways over a half-removed torch.
    except (ImportError, AttributeError, subprocess.CalledProcessError) as error:
        raise CovidLesionSegError(
            f"PyTorch could not be installed ({error}); restart Slicer and, in the module PyTorch "
            "Utils, uninstall and install it."
        ) from error
    if torch is None:
        raise CovidLesionSegError(
            "PyTorch was not installed; press Apply again to install it, or use the module "
            "PyTorch Utils."
        )


def _pipInstall(names: Sequence[str]) -> None:
    from CovidLesionSegLogic.errors import CovidLesionSegError

    try:
        from slicer import packaging
    except ImportError as error:
        raise CovidLesionSegError(
            "This Slicer is too old to install Python packages for the module; use 5.12 or newer."
        ) from error
    # Only what the user agreed to: nothing that Slicer has is upgraded.
    wanted = [one for one in packaging.load_requirements(REQUIREMENTS) if one.name in names]
    try:
        packaging.pip_ensure(wanted, prompt_install=False, requester="CovidLesionSeg")
    except subprocess.CalledProcessError as error:
        raise CovidLesionSegError(
            f"pip could not install {', '.join(names)}; the Python console shows its reason. "
            "Check the connection to the internet and press Apply again."
        ) from error
