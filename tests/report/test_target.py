"""A run with the latency of another device says whose it is, wherever latency is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas import plots
from nas.engine import Ledger, Outcome
from nas.errors import RunError
from nas.genome import load_genome
from nas.report import write_report
from nas.report.compare import write_comparison
from nas.report.page import page
from nas.report.payload import payload, stacks_of
from nas.report.pick import best_winner
from nas.report.run import read_run
from nas.report.tables import heading
from tests.profiling.target import table_for
from tests.report.synthetic import write_facts

GENOME = load_genome("lavit_digits")


def write_timed(directory: Path, **table: Any) -> Path:
    """Two complete trials with a latency; with a table, it is that of another device."""
    write_facts(directory, budget={"latency": 12.0} | ({"table": "target.json"} if table else {}))
    ledger = Ledger(directory)
    for number, accuracy in enumerate((0.8, 0.9)):
        genome = GENOME.edit({"drop_path": number / 10})
        costs = {"macs": 300_000 + number, "params": 10, "latency": 9.0 + number}
        job = ledger.add(genome, seed=number, hash=genome.hash, parameters={"drop_path": number / 10}, costs=costs)
        ledger.finish(job, Outcome.of(job, "complete", accuracy=accuracy, epochs=4, seconds=6.0))
    ledger.write_table()
    if table:
        table_for([GENOME], **table).write(directory / "target.json")
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_timed(tmp_path_factory.mktemp("target") / "jetson", device="Jetson <Orin>", batch_size=4)


def test_headings_axes_and_descriptions_name_the_device(run: Path) -> None:
    opened = read_run(run)
    assert opened.worded(heading("latency")) == "latency ms (Jetson <Orin>)"
    assert opened.worded(heading("throughput")) == "images/s"
    column = next(each for each in payload(opened)["columns"] if each["name"] == "latency")
    there = "for a batch of 4 images on Jetson <Orin> (torch, 4 threads)"
    assert (column["heading"], column["axis"]) == ("latency ms (Jetson <Orin>)", f"milliseconds {there}")
    assert column["about"] == f"Milliseconds {there}, predicted from target.json; not measured here."
    assert plots.front(run, "latency").axes[0].get_xlabel() == f"milliseconds {there}"
    assert "Jetson <Orin>" not in page(opened) and "Jetson &lt;Orin&gt;" in page(opened)


def test_a_run_without_a_table_is_as_before(tmp_path: Path) -> None:
    opened = read_run(write_timed(tmp_path / "here"))
    assert opened.target is None and opened.worded(heading("latency")) == "latency ms"


@pytest.mark.parametrize(
    "read", [write_report, lambda run: best_winner(run, {}), lambda run: plots.front(run, "latency")]
)
def test_a_table_that_is_gone_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    run = write_timed(tmp_path / "run", device="Jetson")
    read_run(run).front.assign(winner=["w1-0001", "w2-0000"]).to_csv(run / "front.csv", index=False)
    (run / "target.json").unlink()
    with pytest.raises(RunError, match=r"run/target\.json: the table that the run goes by is gone; restore it"):
        read(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("change", [{"device": "T4\x1b[2J"}, {"device": "\ud800x"}, {"threads": 10**400}], ids=ascii)
def test_conditions_that_cannot_be_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    run = write_timed(tmp_path / "run", device="Jetson")
    content = json.loads((run / "target.json").read_text()) | change
    (run / "target.json").write_text(json.dumps({key: content[key] for key in content if key != "sha256"}))
    with pytest.raises(RunError, match=r"target\.json: .*damaged \(.*restore it"):
        write_report(run)


def test_a_comparison_says_that_latencies_are_of_different_devices(run: Path, tmp_path: Path) -> None:
    here, alike = write_timed(tmp_path / "here"), write_timed(tmp_path / "alike", device="Jetson <Orin>", batch_size=4)
    said = (
        "Latencies are not comparable: milliseconds for a batch of 4 images on Jetson &lt;Orin&gt; (torch, 4 threads); "
    )
    mixed = write_comparison([run, here], tmp_path / "a.html").read_text()
    assert said + "milliseconds for one image (deployed graph)." in mixed
    assert "not comparable" not in write_comparison([run, alike], tmp_path / "b.html").read_text()


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_layers_have_times_of_a_table_that_timed_them_one_by_one(tmp_path: Path, runtime: str) -> None:
    run = write_timed(tmp_path / "run", runtime=runtime)
    (run / "winners").mkdir()
    (run / "winners" / "w1-0001.yaml").write_text(GENOME.to_yaml())
    front = read_run(run).front.assign(winner=["w1-0001", "w2-0000"])
    front.to_csv(run / "front.csv", index=False)
    found = stacks_of(read_run(run))[0]
    assert found.get("timing") == ("batches of 1 on Jetson, 4 CPU threads" if runtime == "torch" else None)
    assert ("ms" in found["layers"][0]) == (runtime == "torch")
