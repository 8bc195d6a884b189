"""``python -m CovidLesionSegLogic``: the command line, also from the source tree."""

import sys

from CovidLesionSegLogic.cli import main

if __name__ == "__main__":
    sys.exit(main())
