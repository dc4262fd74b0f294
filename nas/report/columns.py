"""Every file of numbers that a run writes, and what each column (CSV) or key (JSON, run.yaml) of it is.

The one place where they are described: the reference of the docs (docs/reference.py) and the glossary of the report
page are made from `FILES`: the tables of contents.py and the mappings of records.py. A test reads the files of real
runs and fails on a column that has no description.

A metric is described by the head of its own file (nas/metrics), and so is a plug-in's; its measured value, such as
`throughput_measured`, likewise. A file whose further columns are named by the user (searched parameters, factors) says
in `rest` what they are.

    >>> describe_column("front.csv", "macs")
    'Multiply-accumulates of one image in the deployed graph, by formula.'
"""

from __future__ import annotations

import re
import sys

from nas.metrics import METRICS
from nas.report.contents import TABLES
from nas.report.records import RECORDS

FILES = TABLES | RECORDS


def describe_column(file: str, column: str) -> str | None:
    """What a column or key of a file of `FILES` is; None if nothing says so.

    >>> describe_column("front.csv", "throughput_measured")
    'Images per second of the deployed graph at batch size 64: from a table of timings; for winners, measured.'
    """
    contents = FILES[file]
    if column in contents.columns:
        return contents.columns[column]
    if contents.metrics and (name := column.removesuffix("_measured")) in METRICS:
        return describe_metric(name)
    return contents.rest


def describe_metric(name: str) -> str:
    """The first line of the metric's file, without the reference to its formula's.

    >>> describe_metric("params")
    'Parameters of the deployed graph, by formula.'
    """
    value = METRICS[name].value
    module = value.__module__ if value is not None else f"nas.metrics.{name}"
    line = (sys.modules[module].__doc__ or METRICS[name].axis).strip().partition("\n")[0]
    return re.sub(r" \(nas/[\w/.]+\)", "", line)
