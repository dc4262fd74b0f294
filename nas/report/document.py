"""A self-contained HTML document: template, style, data, scripts, and the plotting library, all in one file.

The library is Plotly.js, as the `plotly` package of PyPI ships it, pinned in constraints.txt. Weighed against:

    Vega-Lite         0.8 MB, but in no light package: vl-convert-python is 33 MB, with a JavaScript engine in it
    Bokeh             1.3 MB in its package; no parallel coordinates, and tornado comes along
    Observable Plot   0.5 MB, in no kept package; charts would be our own code above d3
    uPlot             lines and little else

Plotly has every chart that the page needs (boxes and lassos to mark points, error bars, log axes, heat maps, parallel
coordinates), draws 10,000 points by WebGL in 0.3 s, and needs nothing that is not here already but `narwhals`. Its
price is size: 4.8 MB, which the page carries compressed, as 2.0 MB; browsers inflate it (DecompressionStream, 2023).
Where there is no JavaScript, text and tables of the front are still there.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from nas.report.payload import as_json

TEMPLATES = "templates"


def document(template: str, scripts: Iterable[str], data: Any, **words: Any) -> str:
    """The page of a template. scripts: files of templates/. data: plain, for the scripts. words: for the template.

    Words are escaped by the template; scripts put text into the page as text.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nas.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.globals["zip"] = zip
    return environment.get_template(template).render(
        style=_own("page.css"),
        scripts=[_own(name) for name in ("core.js", "charts.js", *scripts)],
        data=Markup(as_json(data)),
        library=Markup(_library()),
        **words,
    )


def _own(name: str) -> Markup:
    return Markup((files("nas.report") / TEMPLATES / name).read_text(encoding="utf-8"))


@cache
def _library() -> str:
    """plotly.min.js, compressed, in base64: equal bytes every time, since no date is in it."""
    source = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(source, compresslevel=9, mtime=0)).decode()
