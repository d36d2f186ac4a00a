"""The report: one self-contained HTML page of a run, which opens offline."""

from latentcy.track.report.page import LIMIT, NAME, write_report
from latentcy.track.report.trend import Change, Point, Series

__all__ = ["LIMIT", "NAME", "Change", "Point", "Series", "write_report"]
