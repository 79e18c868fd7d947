"""Texts for people: errors of other libraries in a line, and nobody's password."""

from __future__ import annotations

import re


def masked(text: str) -> str:
    """A text without the passwords of the URLs in it, for everything that is shown or kept."""
    text = re.sub(r"(://[^\s:/@]*:)\S*@", r"\1***@", text)
    return re.sub(r"([?&](?:password|passwd|token)=)[^\s&'\"]*", r"\1***", text)


def gist(message: str) -> str:
    """A message's first line and its last one, which says of a traceback what was raised."""
    lines = message.splitlines()
    return " ".join([*lines[:1], *lines[1:][-1:]])


def in_a_line(error: Exception) -> str:
    """The first line of an error's message, and of what kind it is unless it is the system's."""
    message = (str(error).splitlines() or [""])[0]
    return message if isinstance(error, OSError) else f"{type(error).__name__}: {message}"


def first_line(error: Exception) -> str:
    """An error in a line; of a database, what its driver said, without SQLAlchemy's statements around it."""
    origins = [getattr(cause, "orig", None) for cause in (error, error.__cause__)]
    error = next(filter(None, origins), error)
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
