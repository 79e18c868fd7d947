"""Pictures as files, by Agg whatever the environment says; one that cannot be drawn costs nothing but itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.system.variables import variables
from bench.system.wording import in_a_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWING = threading.Lock()
"""Held while a picture is drawn: matplotlib's fonts and its reader of mathematics are for one thread."""
AGG = {"MPLBACKEND": "agg"}
"""Matplotlib reads it when it is imported, and a notebook's processes inherit one that is the notebook's."""


def new_figure(width: float, height: float, dpi: float, **settings: Any) -> Figure:
    """An empty figure, inches wide and high."""
    with variables(AGG):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), dpi=dpi, **settings)
    FigureCanvasAgg(figure)
    return figure


def drawn(path: Path, draw: Callable[[], object]) -> bool:
    """Draw a picture into a file; where that fails say so in one line, and return False."""
    try:
        with _DRAWING:
            draw()
    except Exception as error:  # whatever a library raises, what it was to show is there
        print(f"not drawn: {path}: {in_a_line(error)}", file=sys.stderr)
        return False
    return True
