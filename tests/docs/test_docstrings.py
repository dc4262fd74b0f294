"""Examples in docstrings: each call of something of the package takes the arguments that it is given there."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from doctest import DocTestParser
from pathlib import Path
from typing import Any

import pytest

import nas

PACKAGE = Path(nas.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def test_there_are_examples() -> None:
    assert sum(1 for file in MODULES for _ in _calls(file)) > 300


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_calls_fit_signatures(file: Path) -> None:
    calls = list(_calls(file))
    module = importlib.import_module(_name(file)) if calls else None
    wrong = []
    for call in calls:
        called = _resolved(call.func, module)
        if called is None or any(isinstance(argument, ast.Starred) for argument in call.args):
            continue
        keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg is not None}
        try:
            inspect.signature(called).bind(*call.args, **keywords)
        except TypeError as error:
            wrong.append(f"{ast.unparse(call)}: {error}")
    assert not wrong


def _name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _calls(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        for source in _sources(ast.get_docstring(node) or ""):
            try:
                parsed = ast.parse(source)
            except SyntaxError:  # a formula, a table, output
                continue
            yield from (call for call in ast.walk(parsed) if isinstance(call, ast.Call))


def _sources(text: str) -> Iterator[str]:
    """What stands behind prompts, and the lines of indented blocks."""
    yield from (example.source for example in DocTestParser().get_examples(text))
    yield from (line.strip() for line in text.splitlines() if line.startswith("    "))


def _resolved(function: ast.expr, module: Any) -> Any:
    """The function or class of the package that an expression names; None for anything else."""
    if isinstance(function, ast.Name):
        found = getattr(module, function.id, None)
    elif isinstance(function, ast.Attribute):
        inner = nas if ast.unparse(function.value) == "nas" else _resolved(function.value, module)
        found = getattr(inner, function.attr, None) if inner is not None else None
    else:
        return None
    return found if str(getattr(found, "__module__", "")).startswith("nas") and callable(found) else None
