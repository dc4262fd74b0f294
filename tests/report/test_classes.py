"""A winner's results by class: in text, on the page, in the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nas.engine import Ledger
from nas.files import write_json, write_text
from nas.genome import load_genome
from nas.report import write_report
from nas.report.card import card
from nas.report.classes import class_results
from nas.train.confusion import by_class
from tests.report.synthetic import write_run


def results(names: list[str], cells: list[list[int]]) -> dict[str, Any]:
    figures = {"run": "r", "trial": "0001", "accuracy": 0.75, "accuracy_test": 0.7}
    return figures | {"classes": by_class(cells, names), "confusion": cells}


FEW = results(["cat", "<b>dog", "emu"], [[0, 0, 8], [0, 1, 2], [1, 1, 5], [1, 0, 5]])


def test_a_confusion_matrix_of_few_classes() -> None:
    found = class_results(FEW)
    assert found is not None
    assert found.line == "least recognised: <b>dog (50.0 %), cat (80.0 %)"
    table = found.table()
    assert [column.head for column in table.columns] == ["class", "images", "accuracy %", "cat", "<b>dog", "emu"]
    assert [column.cells[0] for column in table.columns] == ["cat", "10", "80.0", "8", "2", ""]
    assert [column.cells[2] for column in table.columns] == ["emu", "0", "–", "", "", ""]


def test_the_weakest_of_many_classes() -> None:
    cells = [[k, k, k + 1] for k in range(30)] + [[k, 0, 10] for k in range(1, 30)] + [[7, 8, 11]]
    table = class_results(results([f"c{k}" for k in range(30)], cells)).table()  # type: ignore[union-attr]
    assert table.height == 20
    assert [column.cells[0] for column in table.columns] == ["c1", "12", "16.7", "c0 10"]
    assert "c8 11, c0 10" in table.columns[3].cells


def test_a_run_of_before_has_none(tmp_path: Path) -> None:
    assert class_results({"accuracy": 0.5}) is None and class_results({}) is None


def test_the_page_shows_each_winner(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=4)
    assert "By class" not in write_report(run).read_text()
    front = Ledger(run).table().head(2)
    front["winner"] = ["w1-0000", "w2-0001"]
    front.to_csv(run / "front.csv", index=False)
    write_json(run / "winners" / "w1-0000.json", FEW | {"trial": "0000", "accuracy": front["accuracy"][0]})
    write_json(run / "winners" / "w2-0001.json", {"accuracy": front["accuracy"][1]})  # of an earlier version
    html = write_report(run).read_text()
    assert "w1-0000, least recognised: &lt;b&gt;dog (50.0 %), cat (80.0 %)" in html
    assert html.count("least recognised") == 1 and "<b>dog" not in html


def test_the_card(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=1)
    genome = load_genome("lavit_digits").edit({"preprocess": {"mean": [0.25], "std": [0.5], "crop": 0.5}, "classes": 3})
    file = run / "winners" / "w1-0001.yaml"
    write_text(file, genome.to_yaml())
    write_json(file.with_suffix(".json"), FEW)
    text = card(file, genome)
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "unknown" and told["library_name"] == "timm"
    for fact in (
        "# lavit_digits",
        "| accuracy on validation | 75.0 % |",
        "| accuracy on test | 70.0 % of 20 images |",
        "| MACs | 9",
        "Trained on `digits`, in the run `run` (seed 0)",
        "resize the shorter side to 16 pixels (bilinear, antialiased)",
        "subtract the mean (0.25)",
        "| cat | 10 | 80.0 | 8 | 2 |  |",
    ):
        assert fact in body, (fact, body)
    write_text(tmp_path / "alone.yaml", genome.to_yaml())
    alone = card(tmp_path / "alone.yaml", genome)
    assert "no run directory" in alone and "By class" not in alone and "accuracy on" not in alone


def test_a_card_does_not_tell_where_images_lie_on_this_machine(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=1)
    facts = (run / "run.yaml").read_text().replace("data: digits", "data: imagefolder:/home/me/secret/pets/")
    (run / "run.yaml").write_text(facts)
    genome = load_genome("lavit_digits").edit({"preprocess": {"mean": [0.25], "std": [0.5]}})
    write_text(run / "winners" / "w1-0001.yaml", genome.to_yaml())
    text = card(run / "winners" / "w1-0001.yaml", genome)
    assert "`imagefolder:pets`" in text and "secret" not in text
