"""docs/tutorial.ipynb runs, and its outputs are those of a run."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
CHANCE = ("throughput", "model ", "# Trial", "accuracy")  # differs from machine to machine


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("RAY_AUTH_MODE", "MPLBACKEND"):  # left by other tests
        monkeypatch.delenv(name, raising=False)
    written = nbformat.read(ROOT / "docs" / "tutorial.ipynb", 4)
    nbformat.validate(written)
    again = copy.deepcopy(written)
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:  # sockets as files: no port is opened
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=f"{folder}/kernel.json")
        NotebookClient(again, km=manager, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for before, now in zip(written.cells, again.cells, strict=True):
        if before.cell_type == "code":
            assert [sorted(_texts(output)) for output in before.outputs] == [sorted(_texts(o)) for o in now.outputs]
            for old, new in zip(before.outputs, now.outputs, strict=True):
                if "text/plain" in _texts(old) and not any(word in str(_texts(old)) for word in CHANCE):
                    assert _texts(old)["text/plain"] == _texts(new)["text/plain"]
    assert (tmp_path / "results/tutorial/report.html").exists()


def _texts(output: nbformat.NotebookNode) -> dict[str, str]:
    """By kind; what was printed is text as well."""
    return dict(output.data) if "data" in output else {"text/plain": output.text}
