"""The command line: argument parsing, progress and exit codes; everything else is elsewhere."""

from CovidLesionSegLogic.cli.app import main

__all__ = ["main"]
