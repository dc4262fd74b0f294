"""Runs of version 0.1 (tests/fixtures/v0_1) open, report, load, resume and go further; the same commands give the same.

Accuracies are compared where they were made: on another processor or torch, a validation image may fall to the other
side. Genomes, seeds and what was suggested do not depend on that, but for what halving promotes.
"""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

import nas
import nas.ablation
from nas.data import account_of
from nas.engine import Ledger, Pool, Run
from nas.engine.events import ignore
from nas.engine.record import hardware, read_record, versions
from nas.errors import RunError
from nas.genome import load_genome
from nas.plain_yaml import dump_yaml, read_yaml
from nas.search.recorded import recorded, upgraded
from nas.search.run import _planned
from nas.search.warm_start import earlier_runs
from nas.train import evaluate

OLD = Path(__file__).parent / "fixtures" / "v0_1"
ALONE = {"workers.count": 1}  # a worker takes longer to start than to train these
COLUMNS = ["trial", "state", "epochs", "accuracy", "macs", "params", "seed", "hash"]


def table(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"trial": str, "hash": str})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old runs in results/ of the working directory, with the YAML files beside it."""
    shutil.copytree(OLD, tmp_path / "results")
    for file in OLD.glob("*.yaml"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def same_machine() -> bool:
    record = read_record(OLD / "halving")
    assert record is not None
    here = (hardware()["cpu"], versions()["torch"])
    return here == (record["hardware"]["cpu"], record["versions"]["torch"])


@pytest.mark.parametrize("run", ["halving", "timed", "interrupted", "parts"])
def test_an_old_run_opens_and_reports(runs: Path, run: str) -> None:
    written = table(runs / run / "trials.csv")
    ledger = Ledger(runs / run)
    ledger.write_table()
    again, ended = table(runs / run / "trials.csv"), written["state"] != "running"
    assert set(COLUMNS) <= set(written) <= set(again)
    pd.testing.assert_frame_equal(again[list(written)][ended], written[ended])
    for trial in ledger.trials:
        assert load_genome(trial.job.directory / "genome.yaml").hash == trial.job.hash
    assert all(file.stat().st_size > 0 for file in nas.write_report(run))


def test_an_old_winner_loads(runs: Path) -> None:
    front = table(runs / "halving" / "front.csv")
    images = nas.load_data("digits", validation=0.2, seed=3, limit=800)
    for row in front.to_dict("records"):
        model = nas.build(runs / "halving" / "winners" / f"{row['winner']}.yaml", weights=True)
        accuracy = evaluate(model, images.validation)
        assert accuracy == pytest.approx(row["accuracy"], abs=1.1 / len(images.validation))


@pytest.mark.parametrize(
    ("line", "sampler"), [("", {"name": "tpe", "startup": 4, "lag": 2}), ("sampler: random\n", {"name": "random"})]
)
def test_a_space_that_names_no_sampler_goes_on_with_the_one_of_the_run(
    runs: Path, line: str, sampler: dict[str, object]
) -> None:
    """The default was another one then."""
    text = Path("halving.yaml").read_text()
    Path("halving.yaml").write_text(text.replace("sampler: {name: tpe, startup: 4, lag: 2}\n", line))
    run = Run(
        runs / "interrupted", "search", nas.load_space("halving.yaml").with_settings({"name": "interrupted"}), upgraded
    )
    with nullcontext() if not line else pytest.raises(RunError, match="sampler"):
        assert sampler.items() <= _planned(run, ignore).record["sampler"].items()


@pytest.mark.parametrize(("line", "refused"), [("halving: {}\n", False), ("halving: {first: 2}\n", True), ("", False)])
def test_a_space_that_leaves_the_rungs_open_goes_on_with_those_of_the_run(runs: Path, line: str, refused: bool) -> None:
    """The defaults were other ones then."""
    text = Path("halving.yaml").read_text()
    Path("halving.yaml").write_text(text.replace("halving: {first: 1, factor: 2}\n", line))
    space = nas.load_space("halving.yaml").with_settings({"name": "interrupted"})
    run = Run(runs / "interrupted", "search", space, upgraded)
    with pytest.raises(RunError, match=r"scheduler\.first") if refused else nullcontext():
        assert _planned(run, ignore).record["scheduler"] == {"name": "halving", "first": 1, "factor": 2}


def test_an_interrupted_search_ends_as_the_whole_one_did(runs: Path, pool: Pool) -> None:
    found = nas.run_search("halving.yaml", "interrupted", settings={"name": "interrupted"} | ALONE)
    check(found.trials, table(OLD / "halving" / "trials.csv"))
    record = read_record(runs / "interrupted")
    assert record is not None and "version" not in record, "what a run was begun with stays"


def test_a_finished_search_goes_further(runs: Path, pool: Pool) -> None:
    found = nas.run_search("halving.yaml", "halving", settings={"trials": 13} | ALONE)
    assert len(found.trials) == 13
    check(found.trials[found.trials["state"] == "complete"][:1], table(OLD / "halving" / "trials.csv")[:1])


def test_the_same_search_gives_the_same(runs: Path, pool: Pool) -> None:
    found = nas.run_search("halving.yaml", "again", settings=ALONE)
    check(found.trials, table(OLD / "halving" / "trials.csv"))
    front = table(OLD / "halving" / "front.csv")
    if same_machine():
        assert found.front["hash"].tolist() == front["hash"].tolist()
        assert found.front["accuracy_test"].tolist() == front["accuracy_test"].tolist()


def test_the_same_ablation_gives_the_same(runs: Path, pool: Pool) -> None:
    nas.run_ablation("parts.yaml", "again", settings=ALONE)
    old, new = (table(folder / "table.csv") for folder in (OLD / "parts", runs / "again"))
    exact = ["arm", "seed", "hash", "macs", "params", "state", "epochs"]
    pd.testing.assert_frame_equal(new[exact], old[exact])
    if same_machine():
        measured = ["accuracy", "accuracy_validation"]
        pd.testing.assert_frame_equal(new[measured], old[measured])


def check(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    exact = COLUMNS if same_machine() else ["trial", "seed"]
    found = found.reset_index(drop=True).astype({"accuracy": float})
    pd.testing.assert_frame_equal(found[exact], expected[exact], check_dtype=False)


PUBLISHED = Path(__file__).parents[1] / "results" / "published"


@pytest.mark.parametrize("run", sorted(path.name for path in PUBLISHED.iterdir() if (path / "run.yaml").exists()))
def test_a_published_run_is_never_overwritten_with_less(tmp_path: Path, run: str) -> None:
    """Only tables were kept of these: a report is written from them, and they stay as they are."""
    copy = tmp_path / run
    shutil.copytree(PUBLISHED / run, copy)
    before = {file: file.read_bytes() for file in copy.rglob("*.*") if file.is_file() and file.suffix in KEPT}
    nas.write_report(copy)
    assert {file: file.read_bytes() for file in before} == before


KEPT = (".csv", ".md", ".tex", ".html", ".yaml")


def test_a_run_of_which_only_tables_were_kept_is_not_continued(runs: Path) -> None:
    shutil.rmtree(runs / "halving" / "trials")
    before = (runs / "halving" / "trials.csv").read_bytes()
    with pytest.raises(RunError, match="its 12 trials are here as a table alone"):
        nas.run_search("halving.yaml", "halving")
    assert (runs / "halving" / "trials.csv").read_bytes() == before
    assert not (runs / "halving" / "trials").exists()


@pytest.mark.parametrize("key", ["created", "command", "versions", "hardware", "spec.base", "spec.objectives", "seed"])
def test_a_run_is_reported_where_a_key_is_missing(runs: Path, key: str) -> None:
    file = runs / "halving" / "run.yaml"
    record = read_yaml(file)
    section, _, name = key.rpartition(".")
    del (record[section] if section else record)[name]
    file.write_text(dump_yaml(record))
    assert all(page.stat().st_size > 0 for page in nas.write_report("halving"))


def test_a_missing_key_of_a_recipe_means_its_default_for_warm_starts_too(runs: Path) -> None:
    file = runs / "halving" / "run.yaml"
    record = read_yaml(file)
    del record["spec"]["training"]["ema"], record["spec"]["training"]["channels_last"]
    file.write_text(dump_yaml(record))
    spec = nas.load_space("halving.yaml")
    account = account_of(spec.task.load())
    assert earlier_runs((str(runs / "halving"),), recorded(spec, spec.genome()), account) == [
        (runs / "halving").resolve()
    ]
    assert "base" in nas.ablation.retraining(runs / "halving").arms
