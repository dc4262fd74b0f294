"""Plug-ins as users have them: files in a folder of their own, packages on the path, processes that start afresh."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from nas.blocks import registered
from nas.cli import main
from nas.cli.output import resumable
from nas.data.registry import SOURCES
from nas.engine import Ledger, Pool, Signal, run
from nas.engine.driver import Driver
from nas.engine.training import TrainJob
from nas.errors import GenomeError, RunError, SpecError
from nas.genome import Genome, load_genome
from nas.metrics import METRICS
from nas.model import build
from nas.plain_yaml import dump_yaml, parse_yaml
from nas.plugins import active, check, install, load_plugins, shipment
from nas.profiling.latency import _code_digest
from nas.registry import Registry
from nas.search import SearchSpec
from nas.signals import SIGNALS, interruptible
from nas.train import Task, Training
from tests.engine.test_ray_tune import Listed
from tests.search.simulation import Simulation

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
        ("ends.py", "class End(BaseException): ...\nraise End('bye')\n", "ends.py: line 2: End: bye"),
        ("mute.py", "raise SyntaxError\n", "mute.py: line 1: SyntaxError$"),
        (
            "silent.py",
            "import sys\nclass End(Exception):\n    __str__ = sys.exit\nraise End\n",
            "silent.py: line 4: End: its own message cannot be made",
        ),
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


@pytest.mark.parametrize("as_file", [True, False])
def test_an_interrupt_of_an_import_stays_one(mean: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool) -> None:
    monkeypatch.syspath_prepend(write(mean, MEAN + "raise KeyboardInterrupt\n").parent)
    with pytest.raises(KeyboardInterrupt):
        load_plugins(mean if as_file else ["my_mean"])
    assert "nas_plugin_my_mean" not in sys.modules


SAMPLER = """
import sys
from nas.search.samplers import SAMPLERS, Sampler

class End(BaseException): ...

@SAMPLERS.add("odd")
class Odd(Sampler):
    def ask(self, draw):
        {body}
"""
SPACE = """
base: lavit_digits
parameters: {stages.0.split: {int: [1, 3]}}
"""


@pytest.mark.parametrize(
    ("body", "raised"),
    [
        ("sys.exit()", "SystemExit"),
        ("sys.exit('bye')", "SystemExit: bye"),
        ("raise End", "End"),
        ("return {}['x']", "KeyError: 'x'"),
        ("self.space.assign(lambda parameter: parameter.at('x'))", "ValueError: .*"),
    ],
)
def test_what_a_sampler_raises_is_named_with_its_line(tmp_path: Path, body: str, raised: str) -> None:
    load_plugins(write(tmp_path / "odd.py", SAMPLER.format(body=body)))
    driver = driver_of({"sampler": "odd"}, tmp_path / "run")
    assert driver.guarded(driver.next) == driver.live["0000"]  # the base's
    assert driver.guarded(driver.source.next) is driver.guarded(driver.next) is Signal.DONE
    said = rf"^{tmp_path}/odd.py: the sampler 'odd': line 10, in (Odd.ask|.*lambda.*): {raised}$"
    assert isinstance(driver.error, SpecError) and re.search(said, str(driver.error)), driver.error


def test_an_interrupt_of_a_sampler_stays_one(tmp_path: Path) -> None:
    load_plugins(write(tmp_path / "odd.py", SAMPLER.format(body="raise KeyboardInterrupt")))
    driver = driver_of({"sampler": "odd"}, tmp_path / "run")
    driver.next()
    with pytest.raises(KeyboardInterrupt):
        driver.guarded(driver.source.next)
    assert driver.error is None


def test_an_interrupt_that_a_plug_in_raises_by_itself_is_its_mistake(tmp_path: Path) -> None:
    """The command to resume would end the same way."""
    load_plugins(write(tmp_path / "odd.py", SAMPLER.format(body="raise KeyboardInterrupt")))
    driver = driver_of({"sampler": "odd"}, tmp_path / "run")
    driver.next()
    said = r"odd\.py: the sampler 'odd': line 10, in Odd.ask: KeyboardInterrupt$"
    with pytest.raises(SpecError, match=said), interruptible(), resumable():
        driver.guarded(driver.source.next)


def test_a_signal_in_a_plug_in_is_no_mistake_of_its(tmp_path: Path) -> None:
    body = "import signal; signal.raise_signal(signal.SIGTERM)"
    load_plugins(write(tmp_path / "odd.py", SAMPLER.format(body=body)))
    driver = driver_of({"sampler": "odd"}, tmp_path / "run")
    driver.next()
    with pytest.raises(typer.Exit), interruptible() as interruption, resumable():
        driver.guarded(driver.source.next)
    assert interruption.signal == signal.SIGTERM


def test_an_error_of_the_package_keeps_its_traceback(tmp_path: Path) -> None:
    driver = driver_of({}, tmp_path / "run")
    driver.guarded(lambda: 1 / 0)
    assert isinstance(driver.error, ZeroDivisionError)


def driver_of(keys: dict[str, Any], directory: Path) -> Driver:
    simulation = Simulation(SearchSpec.parse(parse_yaml(SPACE) | keys), directory)
    return Driver(simulation.candidates, simulation.ledger, lambda event: None)


LEAVES = """
import sys
from nas.data.registry import source
from nas.metrics import metric
from nas.search.schedulers import SCHEDULERS, Scheduler

@metric("odd", direction="min", known="formula", heading="odd")
def odd(genome):
    sys.exit()

@metric("broken", direction="min", known="formula", heading="broken")
def broken(genome):
    raise KeyboardInterrupt

@source("odd")
def read(name):
    sys.exit(0)

@SCHEDULERS.add("odd")
class Odd(Scheduler):
    def start(self): ...

    def mean_epochs(self):
        raise BaseException("no")
"""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--set=objectives={accuracy: max, odd: min}", "the metric 'odd' cannot be worked out: SystemExit"),
        ("--set=data=odd", "line 17, in read: SystemExit: 0"),
        ("--set=scheduler=odd", "line 24, in Odd.mean_epochs: BaseException: no"),
        ("--set=objectives={accuracy: max, broken: min}", "line 13: KeyboardInterrupt, raised by this code"),
    ],
)
def test_a_command_that_a_plug_in_leaves_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    space, plugin = write(tmp_path / "s.yaml", SPACE), write(tmp_path / "odd.py", LEAVES)
    command = ["nas", "search", str(space), "--dry-run", f"--plugin={plugin}", option]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"nas: {plugin}: ") and message in said and "Traceback" not in said


KINDS = {
    "metric": METRIC.replace('"depth"', "NAME"),
    "dataset": SOURCE.replace('"toy:FILE"', "NAME"),
    "core block": MEAN.replace('block("mean")', "block(NAME)"),
    "sampler": SAMPLER.format(body="...").replace('"odd"', "NAME"),
    "scheduler": LEAVES[LEAVES.index("@SCHEDULERS") :].replace('"odd"', "NAME"),
}
KINDS["scheduler"] = "from nas.search.schedulers import SCHEDULERS, Scheduler\n" + KINDS["scheduler"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../../x", "a/b", "a\nb", "a b", "", ".", ".a", "\x1b[31m", "x" * 65, "\ud800"])
def test_a_name_that_is_not_plain_is_refused_with_its_file(tmp_path: Path, kind: str, name: str) -> None:
    file = write(tmp_path / "named.py", f"NAME = {name!a}\n{KINDS[kind]}")
    with pytest.raises(SpecError) as refused:
        load_plugins(file)
    said = f"{file}: no name for a {kind}: expected letters, digits, _, - and ., at most 64 and no - or . first; found "
    assert str(refused.value).startswith(said) and str(refused.value).isprintable()
    assert active() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["depth_2", "größe", "v1.5-small", "2x"])
def test_plain_names_are_taken(tmp_path: Path, kind: str, name: str) -> None:
    load_plugins(write(tmp_path / "named.py", f"NAME = {name!a}\n{KINDS[kind]}"))
    assert [plugin.provides[0].partition(" '")[0] for plugin in active()] == [kind]


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
        ("pkg.ends", r"cannot be imported: .*pkg/ends.py: line 1: BaseException$"),
        ("pkg.broken", r"cannot be imported: .*pkg/broken.py: line 1: SyntaxError"),
        ("pkg.needs", r"cannot be imported: .*pkg/needs.py: line 1: ModuleNotFoundError"),
        ("pkg.less", r"'pkg.less' cannot be imported: there are two core blocks called 'less'"),
    ],
)
def test_mistakes_in_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, message: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path / "pkg" / "raises.py", "\n1 / 0\n")
    write(tmp_path / "pkg" / "ends.py", "raise BaseException\n")
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("torch.set_default_dtype(torch.float64)", "default dtype to torch.float64"),
        ("torch.set_default_device('meta')", "default device to meta"),
        ("torch.set_grad_enabled(False)", "gradients to False"),
    ],
)
def test_a_plug_in_does_not_change_how_everything_is_computed(tmp_path: Path, change: str, said: str) -> None:
    """Winners in float64 could not be loaded, and nothing would say why."""
    file = tmp_path / "odd.py"
    file.write_text(f"import torch\n{change}\n{MEAN}")
    before = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled())
    with pytest.raises(SpecError, match=rf"odd\.py: it sets torch's {said}"):
        load_plugins(file)
    assert (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before


@pytest.mark.usefixtures("signals_heeded")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("import os; os.chdir('/')", "it changes the working directory to /, for all paths"),
        ("import sys; sys.stdout = None", "it closes sys.stdout"),
        ("import sys, io; sys.stdout = io.StringIO(); sys.stdout.close()", "it closes sys.stdout"),
        ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)", "it takes SIGINT for itself"),
        ("import signal; [signal.signal(n, print) for n in (1, 15)]", "it takes SIGTERM and SIGHUP for itself"),
    ],
)
def test_a_plug_in_does_not_take_paths_streams_and_signals_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    """A run would be made in another folder, and a command would end with code 0 and without a word."""
    monkeypatch.chdir(tmp_path)
    before = sys.stdout, [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(SpecError, match=rf"odd\.py: {said}"):
        load_plugins(write(tmp_path / "odd.py", f"{change}\n{MEAN}"))
    assert (Path.cwd(), (sys.stdout, [signal.getsignal(number) for number in SIGNALS])) == (tmp_path, before)


def test_what_a_plug_in_prints_is_not_in_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does it matter that it closes stdout: `nas ... --json` is read by programs."""
    talks = METRIC.replace("    return", "    print('measured')\n    sys.stdout.close()\n    return")
    space, plugin = write(tmp_path / "s.yaml", SPACE), write(tmp_path / "odd.py", f"import sys\nprint('here')\n{talks}")
    command = ["nas", "search", str(space), "--dry-run", "--json", f"--plugin={plugin}"]
    monkeypatch.setattr(sys, "argv", [*command, "--set=objectives={accuracy: max, depth: min}"])
    before = sys.stdout
    with suppress(SystemExit):
        main()
    said = capsys.readouterr()
    assert json.loads(said.out)["space"] and {"here", "measured"} <= set(said.err.split())
    assert sys.stdout is before


def test_what_a_library_in_c_prints_is_not_in_the_document(tmp_path: Path) -> None:
    """It has a buffer of its own, which is written when the process ends."""
    prints = "import ctypes, os\nos.write(1, b'at once ')\nctypes.CDLL(None).printf(b'at the end ')\n"
    plugin = write(tmp_path / "talks.py", prints + METRIC)
    command = [sys.executable, "-m", "nas", "cost", "lavit_digits", "--json", f"--plugin={plugin}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(ended.stdout)
    assert "at once" in ended.stderr and "at the end" in ended.stderr
    closed = subprocess.run(command[:-1], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), cwd=tmp_path)
    assert (closed.returncode, closed.stderr) == (0, b"")
