"""Place the repository's ``Resources`` folder inside the installed package.

In the source tree and inside Slicer, ``Resources/`` lies beside ``CovidLesionSegLogic/``.  A wheel
must not claim the name ``Resources`` at the top of site-packages, so it carries the same files as
``CovidLesionSegLogic/Resources``.  Everything else about the package is in ``pyproject.toml``.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
RESOURCES = {
    f"CovidLesionSegLogic.Resources.{name}": f"Resources/{name}"
    for name in ("Models", "Terminologies")
    if (ROOT / "Resources" / name).is_dir()
}

setup(
    packages=find_packages(include=["CovidLesionSegLogic", "CovidLesionSegLogic.*"])
    + list(RESOURCES),
    package_dir=RESOURCES,
    package_data={
        "CovidLesionSegLogic": ["py.typed"],
        "CovidLesionSegLogic.assess.tables": ["plans/*.json"],
    }
    | {name: ["*"] for name in RESOURCES},
)
