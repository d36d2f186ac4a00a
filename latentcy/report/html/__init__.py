"""The report: one self-contained HTML page of a run, which opens offline."""

from latentcy.report.html.page import LIMIT, NAME, write_report
from latentcy.report.html.trend_plots import Change, Point, Series

__all__ = ["LIMIT", "NAME", "Change", "Point", "Series", "write_report"]
