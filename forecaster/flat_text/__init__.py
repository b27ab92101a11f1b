"""Flat records, objects of JSON and lines of CSV, to columns; see record_kernels.py."""

from forecaster.flat_text.flat_text import FlatColumns, FlatNames, FlatText, compile_flat_text, joined_columns
from forecaster.flat_text.layout import LOW, MIDDLE

__all__ = ["LOW", "MIDDLE", "FlatColumns", "FlatNames", "FlatText", "compile_flat_text", "joined_columns"]
