"""What a person reads: an overview picture and a self-contained HTML report."""

from .document import report_html, write_report
from .overview import overview_png, write_overview

__all__ = ["overview_png", "report_html", "write_overview", "write_report"]
