"""The module's self-test in a real Slicer, with its worker and panel; exits with 0 or 1.

    Slicer --testing --no-splash --ignore-slicerrc \
        --additional-module-paths CovidLesionSeg --python-script Testing/Slicer/self_test.py

Needs the extension PyTorch with torch installed; ``--no-main-window`` may be added.
"""

import traceback

import slicer


def main() -> int:
    """Run all tests of CovidLesionSegTest; 0 if they pass."""
    try:
        from CovidLesionSeg import CovidLesionSegTest

        CovidLesionSegTest().runTest()
    except Exception:  # noqa: BLE001 - whatever it is, Slicer must end with a code
        traceback.print_exc()
        return 1
    print("CovidLesionSeg: self-test passed")
    return 0


if __name__ == "__main__":
    slicer.util.exit(main())
