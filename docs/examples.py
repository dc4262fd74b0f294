"""Examples in docstrings, which begin with >>>, are code on the pages of the site (an extension of griffe).

Markdown would take them for quotations.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Each paragraph that begins with >>> as a block of code."""
    return re.sub(r"^ *>>>(?:.+\n?)+", lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text, flags=re.MULTILINE)
