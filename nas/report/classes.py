"""A winner's results on the test split by class, from `winners/<name>.json`: as text, and as a table.

With few classes the table is the confusion matrix; with many, the classes that are recognised least, and what they are
taken for.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from nas.engine.job import Count, Fraction
from nas.engine.reading import AGAIN, WINNER, Cell, read_json
from nas.errors import RunError
from nas.files import parse_json, regular
from nas.report.markup import Column, TextTable

MATRIX = 20  # classes whose confusion matrix a page can hold; also the rows of the table of more
NAMED = 3  # wrong answers, or weakest classes, that a line names


@dataclass(frozen=True)
class ClassResults:
    """names, images, accuracy: by class; accuracy is a fraction, None without images. counts: of (class, answered)."""

    names: list[str]
    images: list[int]
    accuracy: list[float | None]
    counts: dict[tuple[int, int], int]

    @property
    def weakest(self) -> list[int]:
        """The classes that have images, from the least recognised on."""
        known = [(found, label) for label, found in enumerate(self.accuracy) if found is not None]
        return [label for _, label in sorted(known)]

    @property
    def line(self) -> str:
        """`least recognised: 8 (89.2 %), 3 (91.0 %), 1 (93.1 %)`."""
        least = ", ".join(f"{self.names[k]} ({percent(self.accuracy[k])} %)" for k in self.weakest[:NAMED])
        return f"least recognised: {least}"

    def table(self) -> TextTable:
        """The confusion matrix, or with many classes those that are recognised least."""
        return self._matrix() if len(self.names) <= MATRIX else self._least()

    def _head(self, labels: list[int]) -> list[Column]:
        return [
            Column("class", [self.names[k] for k in labels]),
            Column("images", [str(self.images[k]) for k in labels], numeric=True),
            Column("accuracy %", [percent(self.accuracy[k]) for k in labels], numeric=True),
        ]

    def _matrix(self) -> TextTable:
        labels = list(range(len(self.names)))
        answers = [
            Column(self.names[k], [str(self.counts.get((label, k), "")) for label in labels], numeric=True)
            for k in labels
        ]
        caption = "Confusion matrix on test: a row for each class, and how many of its images are answered with what."
        return TextTable(self._head(labels) + answers, caption)

    def _least(self) -> TextTable:
        wrong: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (label, answer), count in self.counts.items():
            if label != answer:
                wrong[label].append((-count, answer))
        labels = self.weakest[:MATRIX]
        taken = [
            ", ".join(f"{self.names[answer]} {-count}" for count, answer in sorted(wrong[k])[:NAMED]) for k in labels
        ]
        which = f"{len(labels)} classes of {len(self.names)}"
        caption = f"The {which} that are recognised least on test, and for what they are taken."
        return TextTable([*self._head(labels), Column("taken for", taken)], caption)


ClassRow = TypedDict("ClassRow", {"class": str, "images": Count, "accuracy": Fraction | None})


class LayerRow(TypedDict):
    """A row of a winner's stack (nas/search/stack.py)."""

    name: str
    what: str
    macs: Count
    params: Count
    ms: NotRequired[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None]


class Results(TypedDict, total=False):
    """winners/<name>.json (nas/search/winners.py), as far as reports read it."""

    trial: str
    accuracy: Fraction
    accuracy_se: Fraction
    accuracy_weights: Fraction
    accuracy_test: Fraction
    accuracy_test_se: Fraction
    trials_sha256: str
    macs: Count
    params: Count
    measured: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    classes: list[ClassRow]
    confusion: list[Cell]
    layers: list[LayerRow]
    timing: str


def class_results(results: Results) -> ClassResults | None:
    """From the content of a winner's JSON; None where the test split was not read, or by an earlier version."""
    if "classes" not in results:
        return None
    rows = results["classes"]
    return ClassResults(
        [row["class"] for row in rows],
        [row["images"] for row in rows],
        [row["accuracy"] for row in rows],
        {(label, answer): count for label, answer, count in results.get("confusion", ())},
    )


def read_results(genome: Path) -> Results:
    """The JSON beside a winner's genome file; empty if there is none. Raises RunError for a damaged one.

    >>> read_results(Path("results/my_run/winners/w1-0007.yaml"))["accuracy_test"]
    """
    file = genome.with_suffix(".json")
    if file.parent.name != "winners" and not {"run", "trial"} <= _keys(file):  # a file of the user's own
        return {}
    found: Results = read_json(file, Results) or {}
    named = WINNER.fullmatch(genome.stem)
    if named is not None and found.get("trial", named[1]) != named[1]:
        raise RunError(f"it is about trial {found['trial']}; {AGAIN}", file=file)
    known = range(len(found.get("classes", ())))
    if any(label not in known or answer not in known for label, answer, _ in found.get("confusion", ())):
        raise RunError(f"damaged (confusion: there are {len(known)} classes); {AGAIN}", file=file)
    return found


def _keys(file: Path) -> set[str]:
    try:
        return set(parse_json(regular(file).read_bytes()))
    except (OSError, ValueError, TypeError):
        return set()


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
