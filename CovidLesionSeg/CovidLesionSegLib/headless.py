"""The command line inside the Slicer application, without a window:

    Slicer --no-main-window --no-splash --ignore-slicerrc --python-script headless.py
        batch STUDIES -o RESULTS

The options, files and exit codes are those of ``covid-lesion-seg``; the same script does the same
in plain Python. No dialog opens, and the application ends on every path.
"""

import contextlib
import sys
import traceback
from pathlib import Path


def run(arguments) -> int:
    """The command's exit code; whatever goes wrong, there is one."""
    try:
        for folder in (Path(__file__).resolve().parents[n] for n in (1, 2)):
            if (folder / "CovidLesionSegLogic").is_dir():
                sys.path.insert(0, str(folder))
                break
        from CovidLesionSegLogic.cli import main

        return main(arguments)
    except BaseException:  # noqa: BLE001 - an application without a window must not stay
        traceback.print_exc()
        return 1


def leave(code: int) -> None:
    """End the application, or the process where there is none."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    if getattr(sys.modules.get("slicer"), "app", None) is not None:
        import slicer

        slicer.util.exit(code)
    else:
        sys.exit(code)


if __name__ == "__main__":
    leave(run(sys.argv[1:]))
