"""The confusion matrix against scikit-learn's, and accuracy by class."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix

from nas.train.confusion import by_class, confusion


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_cells_are_those_of_the_matrix(pairs: list[tuple[int, int]]) -> None:
    labels, answers = zip(*pairs, strict=True)
    cells = confusion(torch.tensor(answers), torch.tensor(labels))
    matrix = confusion_matrix(labels, answers, labels=range(5))
    assert {(label, answer): count for label, answer, count in cells} == {
        (label, answer): int(matrix[label, answer]) for label, answer in zip(*matrix.nonzero(), strict=True)
    }
    found = by_class(cells, "abcde")
    assert [row["class"] for row in found] == list("abcde")
    assert [row["images"] for row in found] == matrix.sum(1).tolist()
    right = sum(row["images"] * row["accuracy"] for row in found if row["accuracy"] is not None)
    assert abs(right / len(pairs) - accuracy_score(labels, answers)) < 1e-9
    assert all((row["accuracy"] is None) == (row["images"] == 0) for row in found)
