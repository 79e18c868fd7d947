"""plotly's script, which draws a page's pictures: in a file beside a page or above it, or in the page itself."""

from __future__ import annotations

from pathlib import Path

from bench.system.file import write_atomic

SCRIPT = "plotly.min.js"


def plotly_script() -> str:
    """The script of the plotly package, whole: a page needs no network."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def above(folder: Path) -> str:
    """The way from a report's folder to that of the collection that it is of, which has the script for all of them.

    Returns:
        ``../``; nothing where the folder is on its own, or is the collection's.
    """
    return "../" if not (folder / SCRIPT).exists() and (folder.parent / SCRIPT).exists() else ""


def put_script(folder: Path) -> str:
    """Have the script in the collection's folder, or else in this one; return its address, as a page here names it."""
    address = above(folder) + SCRIPT
    path, script = folder / address, plotly_script().encode()
    if not path.exists() or path.read_bytes() != script:
        write_atomic(path, script)
    return address
