"""docs/architecture.md and the other pages, held to the code: floors, imports, files and functions that they name."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import nas
from nas.blocks.base import BLOCKS
from nas.data.registry import SOURCES
from nas.metrics import METRICS
from nas.search.samplers import SAMPLERS
from nas.search.schedulers import SCHEDULERS

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
MADE = re.compile(r"(\.\./)?(reference/\w+|tutorial|changelog|contributing)\.md")  # by docs/reference.py, for the site
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "nas").rglob("*.py"))

FLOORS = {
    name: int(floor)
    for floor, name in re.findall(r"^\| (\d) \| `nas/(\w+)(?:/|\.py)` \|", ARCHITECTURE.read_text(), re.MULTILINE)
}
WITHIN = {
    ("metrics", "profiling"),
    ("train", "timm"),
    ("convert", "search"),
    ("cli", "api"),
}  # imports within a floor, beside those of floor 0
FACES = {"__init__": 8, "__main__": 8}  # `import nas`, `python -m nas`
EXCEPTIONS = {
    ("nas/engine/record.py", "nas"): "the version of the package, which is written to run.yaml",
    ("nas/cli/app.py", "nas"): "the version, for `nas --version`",
}


def floor_and_room(module: str) -> tuple[int, str]:
    """`nas.search.space` -> (6, "search")."""
    room = module.split(".")[1] if "." in module else "__init__"
    return (FLOORS | FACES)[room], room


def imports_of(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """At the head and inside functions; what `if TYPE_CHECKING:` guards never runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imports_of(node)


def modules_in(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0 and node.module, "imports are absolute"
    return [f"nas.{alias.name}" for alias in node.names] if node.module == "nas" else [node.module]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def test_the_table_of_floors_is_complete() -> None:
    rooms = {path.parts[1].removesuffix(".py") for path in MODULES}
    assert set(FLOORS) == rooms - set(FACES)
    assert set(FLOORS.values()) == set(range(9))
    drawn = runpy.run_path(str(ARCHITECTURE.with_suffix(".py")))["FLOORS"]
    boxes = {name: int(floor) for floor, names, _, _ in drawn for name in names.split(", ") if name != "…"}
    assert boxes == {name: floor for name, floor in FLOORS.items() if floor or name in boxes}, "the picture agrees"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_from_floors_below_its_own(path: Path) -> None:
    floor, room = floor_and_room(".".join(path.with_suffix("").parts))
    for node in imports_of(parsed(path)):
        for module in modules_in(node):
            if module.split(".")[0] != "nas" or (str(path), module) in EXCEPTIONS:
                continue
            other, name = floor_and_room(module)
            within = name == room or floor == other == 0 or (room, name) in WITHIN
            assert other < floor or within or room in FACES, f"{path}:{node.lineno} (floor {floor}) imports {module}"


def test_ray_and_optuna_are_imported_when_they_are_needed() -> None:
    heads: dict[str, set[str]] = {"ray": set(), "optuna": set()}
    for path in MODULES:
        for node in parsed(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for package in heads.keys() & {module.split(".")[0] for module in modules_in(node)}:
                    heads[package].add(path.as_posix())
    assert heads == {"ray": {"nas/engine/ray_tune.py"}, "optuna": {"nas/search/study.py"}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    """Paths of the repository (up to a placeholder, as in `nas/blocks/<name>.py`), links, functions of `nas`."""
    text = page.read_text()
    named = re.findall(r"(?<![\w./:-])(?:nas|tests|docs|benchmarks|search_spaces|ablations)/[\w./*-]*", text)
    paths = {name.rstrip(".") for name in named}
    assert [path for path in sorted(paths) if not list(ROOT.glob(path))] == []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert (
            "://" in link or MADE.fullmatch(file) or (target.exists() and (not heading or heading in headings(target)))
        ), link
    assert set(re.findall(r"(?<![\w.])nas\.(\w+)\(", text)) <= set(nas.__all__)


def headings(page: Path) -> set[str]:
    """As links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_functions_of_the_life_of_a_search_are_where_the_page_says() -> None:
    named = re.findall(r"`([\w.]+)`\s+in\s+`(nas/[\w/]+\.py)`", ARCHITECTURE.read_text())
    assert len(named) > 12
    for name, path in named:
        owner, _, last = name.rpartition(".")
        scope = ast.walk(parsed(Path(path)))
        if owner:
            scope = iter(next(node for node in scope if isinstance(node, ast.ClassDef) and node.name == owner).body)
        assert last in {node.name for node in scope if isinstance(node, ast.FunctionDef)}, f"{name} in {path}"


def test_every_registry_is_in_the_table_of_what_to_add() -> None:
    registries = [*BLOCKS.values(), SOURCES, METRICS, SAMPLERS, SCHEDULERS]
    for folder in {registry.package.replace(".", "/") for registry in registries}:
        assert f"`{folder}/<name>.py`" in ARCHITECTURE.read_text()
