"""Plug-ins as users have them: files in a folder of their own, packages on the path, processes that start afresh."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.blocks import registered
from nas.data.registry import SOURCES
from nas.engine import Ledger, Pool, run
from nas.engine.training import TrainJob
from nas.errors import GenomeError, RunError, SpecError
from nas.genome import Genome, load_genome
from nas.metrics import METRICS
from nas.model import build
from nas.plain_yaml import dump_yaml
from nas.plugins import active, check, install, load_plugins, shipment
from nas.profiling.latency import _code_digest
from nas.registry import Registry
from nas.train import Task, Training
from tests.engine.test_ray_tune import Listed

ROOT = Path(__file__).parents[1]
MEAN = """
from typing import Literal
from nas.blocks.base import BlockConfig, Core, Cost, block

@block("mean")
class Mean(Core):
    class Config(BlockConfig):
        block: Literal["mean"] = "mean"

    def __init__(self, config, site):
        super().__init__()

    def forward(self, inputs):
        return inputs.v_BNHD.mean(1, keepdim=True).expand_as(inputs.v_BNHD), None

    @classmethod
    def projects(cls, config, site):
        return "v"

    @classmethod
    def outgoing(cls, config, site):
        return None

    @classmethod
    def cost(cls, config, site):
        return Cost(0, 0)
"""
METRIC = """
from nas.metrics import metric

@metric("depth", direction="min", known="formula", heading="layers", whole=True)
def depth(genome):
    return sum(len(stage.layers) for stage in genome.layout)
"""
SOURCE = """
from nas.data.registry import source

@source("toy:FILE")
def read(path):
    raise NotImplementedError
"""
GENOME = {
    "image": {"size": 8, "channels": 1},
    "classes": 10,
    "stages": [{"patch": 2, "width": 16, "heads": 2, "layers": ["mean x 2"]}],
}


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path) -> Iterator[None]:
    """What a test imports and registers is gone after it."""
    yield
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
        if place.startswith(str(tmp_path)):
            Registry.forget(name)
            del sys.modules[name]


@pytest.fixture
def mean(tmp_path: Path) -> Path:
    return write(tmp_path / "plugins" / "my_mean.py", MEAN)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fresh(script: str, *arguments: object, path: Path = ROOT, fails: bool = False) -> str:
    """What a script says in a process of its own, with `path` in front of the package's folder."""
    env = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=path)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_a_file_joins_under_a_stable_name(mean: Path) -> None:
    load_plugins([mean, mean])
    (plugin,) = active()
    assert (plugin.name, plugin.module, plugin.provides) == ("my_mean.py", "nas_plugin_my_mean", ("core block 'mean'",))
    cls = registered("core")["mean"]
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert inspect.getsource(cls).strip() in MEAN
    build(Genome.parse(GENOME))


def test_an_edited_file_is_loaded_again(mean: Path) -> None:
    load_plugins([mean])
    before, timings = active(), _code_digest()
    mean.write_text(MEAN.replace("Cost(0, 0)", "Cost(7, 0)"))
    load_plugins([mean])
    assert registered("core")["mean"].cost(None, None).macs == 7
    assert len(active()) == 1 and active()[0].sha256 != before[0].sha256
    assert _code_digest() != timings, "times of the old code"


def test_an_imported_file_given_by_path_as_well_is_one_plugin(mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(mean.parent)
    importlib.import_module("my_mean")
    load_plugins([mean])
    assert [(plugin.name, plugin.module) for plugin in active()] == [("my_mean.py", "my_mean")]


def test_a_file_that_is_imported_after_it_was_loaded_is_one_plugin(mean: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(mean.parent)
    load_plugins([mean])
    importlib.import_module("my_mean")
    assert [plugin.module for plugin in active()] == ["my_mean"]


def test_a_module_that_is_executed_again_replaces_its_members(mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(write(mean, MEAN + METRIC + SOURCE).parent)
    module = importlib.import_module("my_mean")
    importlib.reload(module)
    assert (registered("core")["mean"], METRICS["depth"].value, SOURCES["toy"].read) == (
        module.Mean,
        module.depth,
        module.read,
    )
    assert len(active()) == 1


def test_every_kind_remembers_its_module(tmp_path: Path) -> None:
    load_plugins([write(tmp_path / "all.py", MEAN + METRIC + SOURCE)])
    (plugin,) = active()
    assert plugin.provides == ("core block 'mean'", "metric 'depth'", "dataset 'toy'")
    assert METRICS["depth"].value(Genome.parse(GENOME)) == 2  # type: ignore[misc]
    assert SOURCES["toy"].takes == "FILE"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("absent.py", None, "absent.py: no such file"),
        ("genome.yaml", "a: 1", "genome.yaml: a plug-in is a Python file"),
        ("binary.py", "\0", "binary.py: .*null bytes"),
        ("broken.py", "x = 1\ndef f(:\n", "broken.py: line 2: SyntaxError: invalid syntax"),
        ("raises.py", "\nimport json\njson.loads('')\n", "raises.py: line 3: JSONDecodeError: Expecting value"),
        ("leaves.py", "import sys\nsys.exit('bye')\n", "leaves.py: line 2: SystemExit: bye"),
        ("needs.py", "import no_such_thing\n", "needs.py: line 1: ModuleNotFoundError: No module named"),
        ("idle.py", "x = 1\n", "idle.py: the file registers nothing; a plug-in has something decorated by @block"),
        ("less.py", MEAN.replace("mean", "less"), r"there are two core blocks called 'less', in .*nas/blocks/less.py"),
        ("macs.py", METRIC.replace("depth", "macs"), r"two metrics called 'macs', in .*nas/metrics/macs.py and in "),
        ("csv.py", SOURCE.replace("FILE", "FLIE"), "csv.py: a source is called NAME, NAME:PATH .* found 'toy:FLIE'"),
        (
            "twice.py",
            METRIC + METRIC.replace("def depth", "def length"),
            "two metrics called 'depth', in .*twice.py: rename",
        ),
    ],
)
def test_mistakes_in_files(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        write(tmp_path / name, text)
    with pytest.raises(SpecError, match=message):
        load_plugins([tmp_path / name])
    assert active() == [] and f"nas_plugin_{Path(name).stem}" not in sys.modules


def test_a_failed_file_can_be_mended(mean: Path) -> None:
    mean.write_text(MEAN + "1 / 0\n")
    with pytest.raises(SpecError, match="ZeroDivisionError"):
        load_plugins([mean])
    mean.write_text(MEAN)
    load_plugins([mean])


def test_two_files_of_a_name_or_of_a_block(mean: Path) -> None:
    load_plugins([mean])
    with pytest.raises(SpecError, match=rf"another plug-in has this name, {mean}: rename"):
        load_plugins([write(mean.parent / "other" / mean.name, MEAN + "\n")])
    with pytest.raises(SpecError, match=rf"two core blocks called 'mean', in {mean} and in .*average.py"):
        load_plugins([write(mean.parent / "average.py", MEAN)])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_such_module", "the plug-in 'no_such_module' cannot be imported: ModuleNotFoundError"),
        ("json", "the module 'json' registers nothing"),
        ("pkg.raises", r"cannot be imported: .*pkg/raises.py: line 2: ZeroDivisionError"),
        ("pkg.broken", r"cannot be imported: .*pkg/broken.py: line 1: SyntaxError"),
        ("pkg.needs", r"cannot be imported: .*pkg/needs.py: line 1: ModuleNotFoundError"),
        ("pkg.less", r"'pkg.less' cannot be imported: there are two core blocks called 'less'"),
    ],
)
def test_mistakes_in_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, message: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "pkg" / "raises.py", "\n1 / 0\n")
    write(tmp_path / "pkg" / "broken.py", "def f(:\n")
    write(tmp_path / "pkg" / "needs.py", "import no_such_thing\n")
    write(tmp_path / "pkg" / "less.py", MEAN.replace("mean", "less"))
    with pytest.raises(SpecError, match=message):
        load_plugins([module])


def test_a_package_joins_by_its_modules(mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(mean.parent / "pkg" / "mean.py", MEAN)
    write(mean.parent / "pkg" / "__init__.py", "from pkg import mean\n")
    monkeypatch.syspath_prepend(mean.parent)
    load_plugins(["pkg"])
    (plugin,) = active()
    assert (plugin.name, plugin.source) == ("pkg.mean", None)


def test_neither_torch_nor_ray_is_imported() -> None:
    loaded = "import sys, nas.plugins as p; print(p.active(), {'torch', 'ray'} & set(sys.modules))"
    assert fresh(loaded).strip() == "[] set()"


INSTALLED = """
import nas.genome                                # what asks the registry first may be half imported itself
from nas.plugins import active
assert "depth" in __import__("nas.metrics").metrics.METRICS
nas.genome.Genome.parse({"stages": [{"patch": 16, "width": 16, "heads": 2, "layers": "mean"}]})
print([plugin.name for plugin in active()])
"""


def test_installed_packages_join_by_themselves(tmp_path: Path) -> None:
    write(tmp_path / "my_mean.py", MEAN + METRIC)
    info = tmp_path / "my_dist-1.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: my-dist\nVersion: 1.0\n")
    write(info / "entry_points.txt", "[nas.plugins]\nmean = my_mean\n")
    assert fresh(INSTALLED, path=tmp_path).strip() == "['my_mean.py']"
    write(tmp_path / "my_mean.py", "1 / 0\n")
    error = fresh(INSTALLED, path=tmp_path, fails=True)
    message = "SpecError: the plug-in 'mean' of the installed package 'my-dist' cannot be imported: .*line 1: ZeroDiv"
    assert re.search(message, error.splitlines()[-1]), error


def test_records_are_checked_and_never_imported(mean: Path) -> None:
    load_plugins([mean])
    records = [plugin.as_record() for plugin in active()]
    check(records)
    check(None)

    other = [records[0] | {"sha256": "ab" * 32}]
    with pytest.raises(RunError, match=r"run.yaml: .*my_mean.py \(sha256 abababababab…\), now it is another one"):
        check(other, file="run.yaml")
    Registry.forget("nas_plugin_my_mean")
    message = (
        r"begun with the plug-in my_mean.py \(sha256 .*\), which provides the core block 'mean': give it again with"
    )
    with pytest.raises(RunError, match=message):
        check(records)
    with pytest.raises(RunError, match="plugins: expected a list of name, sha256, provides"):
        check("my_mean.py")


@pytest.mark.parametrize("place", ["winners/w1.yaml", "trials/0001/genome.yaml", "baseline/trials/0001/genome.yaml"])
def test_a_genome_of_a_run_names_the_plugin_that_is_missing(mean: Path, tmp_path: Path, place: str) -> None:
    load_plugins([mean])
    write(tmp_path / "run" / "run.yaml", dump_yaml({"plugins": [plugin.as_record() for plugin in active()]}))
    genome = write(tmp_path / "run" / place, Genome.parse(GENOME).to_yaml())
    load_genome(genome)
    Registry.forget("nas_plugin_my_mean")
    with pytest.raises(
        GenomeError, match=r"stages.0.*unknown core block 'mean'; allowed: .*plug-in my_mean.py .*--plugin"
    ):
        load_genome(genome)


ELSEWHERE = """
import inspect, pickle, sys
from pathlib import Path
from nas.plugins import active, install
plugins = pickle.loads(Path(sys.argv[1]).read_bytes())
install(plugins)
install(plugins)
from nas.blocks import registered
assert "MEAN" not in dir() and "class Mean" in inspect.getsource(registered("core")["mean"])
assert active() == plugins
install([plugins[0].__class__(**(vars(plugins[0]) | {"sha256": "0" * 64}))])
"""


def test_a_shipment_is_all_that_a_machine_needs(mean: Path, tmp_path: Path) -> None:
    load_plugins([mean])
    box = tmp_path / "box"
    box.write_bytes(pickle.dumps(shipment()))
    mean.unlink()
    error = fresh(ELSEWHERE, box, fails=True)
    assert re.search("RunError: the plug-in my_mean.py cannot be used on .*: its source was damaged", error), error


def test_a_file_that_needs_its_neighbour_is_refused_elsewhere(mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(mean.parent / "neighbour.py", "")
    with monkeypatch.context() as here:
        here.syspath_prepend(write(mean, "import neighbour\n" + MEAN).parent)
        importlib.import_module("my_mean")
    (plugin,) = shipment()
    for module in ("my_mean", "neighbour"):
        Registry.forget(sys.modules.pop(module).__name__)
    message = r"my_mean.py cannot be used on .*: line 1: .* No module named 'neighbour'; its file is sent alone"
    with pytest.raises(RunError, match=message):
        install([plugin])


def test_a_package_of_another_version_is_refused(mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(mean.parent / "pkg" / "mean.py", MEAN)
    monkeypatch.syspath_prepend(mean.parent)
    load_plugins(["pkg.mean"])
    (plugin,) = shipment()
    install([plugin])
    with pytest.raises(RunError, match=r"pkg.mean cannot be used on .*: it has another source there"):
        install([replace(plugin, sha256="0" * 64)])


def test_what_a_script_defines_is_refused() -> None:
    error = fresh(f"{MEAN}\nfrom nas.plugins import shipment\nshipment()", fails=True)
    assert "SpecError: the core block 'mean' is defined in the script or notebook itself" in error


def train(path: Path, pool: Pool) -> Listed:
    ledger = Ledger(path)
    source = Listed(ledger, [{}, {}], Genome.parse(GENOME))
    with ledger.locked():
        run(source, ledger, work=TrainJob(Task("digits", Training(epochs=1, limit=100))), pool=pool)
    return source


@pytest.mark.parametrize("imported", [False, True])
def test_workers_train_a_block_from_a_file(
    mean: Path, tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch, imported: bool
) -> None:
    if imported:
        monkeypatch.syspath_prepend(mean.parent)
        importlib.import_module("my_mean")
    else:
        load_plugins([mean])
        mean.unlink()  # as on another machine
    told = train(tmp_path / "run", pool).told
    assert [outcome.state for outcome in told.values()] == ["complete"] * 2, told


def test_a_worker_without_the_plugin_stops_the_run_and_no_trial_fails(
    mean: Path, tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(mean.parent / "only_here" / "mean.py", MEAN)
    monkeypatch.syspath_prepend(mean.parent)
    load_plugins(["only_here.mean"])
    message = r"plug-in only_here.mean cannot be used on .*No module named 'only_here'; install its package on every"
    with pytest.raises(RunError, match=message):
        train(tmp_path / "run", pool)
    trials = Ledger(tmp_path / "run").trials
    assert trials and all(trial.outcome is None for trial in trials), "resumable, once the package is there"


def test_what_was_imported_is_what_is_recorded_and_sent(mean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual way of a notebook: import a file, edit it, and go on."""
    monkeypatch.syspath_prepend(str(mean.parent))
    importlib.import_module("my_mean")
    before = mean.read_bytes()
    mean.write_text(mean.read_text() + "# edited\n")
    (plugin,) = shipment()
    assert plugin.source == before and plugin.sha256 == hashlib.sha256(before).hexdigest()
    load_plugins(mean)  # one path will do
    (plugin,) = shipment()
    assert plugin.source == mean.read_bytes() != before


def test_a_reload_that_fails_leaves_what_was_there(mean: Path) -> None:
    load_plugins([mean])
    mean.write_text("def f(:\n")
    with pytest.raises(SpecError, match="line 1: SyntaxError"):
        load_plugins([mean])
    assert "mean" in registered("core")


def test_what_no_worker_uses_may_be_defined_in_a_script(tmp_path: Path) -> None:
    code = """
from nas.metrics import metric
from nas.plugins import shipment
@metric("foo", direction="min", known="formula", heading="foo")
def foo(genome):
    return 1
assert shipment() == []
"""
    (tmp_path / "script.py").write_text(code)
    subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


def test_a_link_to_a_device_is_no_plug_in(tmp_path: Path) -> None:
    (tmp_path / "plug.py").symlink_to("/dev/zero")
    with pytest.raises(SpecError, match=r"not readable: a pipe or a device, where a file is expected"):
        load_plugins([tmp_path / "plug.py"])
