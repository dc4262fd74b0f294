"""Paths are those of pathlib, in the order of pathlib, in some bytes a file."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.folders import Folder, read_tree
from nas.data.index import Names, Paths

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
TREES = st.recursive(st.just({}), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)


def grown(path: Path, tree: dict[str, dict], images: list[Path]) -> Folder:
    """A folder with the inner ones of `tree`, whose leaves are images."""
    leaves = [name for name, inner in tree.items() if not inner]
    images += [path / name for name in leaves]
    folders = {name: grown(path / name, inner, images) for name, inner in tree.items() if inner}
    return Folder(path, folders, Names.sorted(leaves))


@given(TREES)
def test_files_at_any_depth_come_in_the_order_of_paths(tree: dict[str, dict]) -> None:
    images: list[Path] = []
    paths = grown(Path("/data"), tree, images).below()
    assert list(paths) == sorted(images)
    assert list(pickle.loads(pickle.dumps(paths))) == sorted(images)
    assert list(Paths.of(images)) == images


def test_there_is_no_file_beyond_the_last() -> None:
    paths = Paths([(Path("a"), ["x", "y"]), (Path("b"), []), (Path("c"), ["z"])])
    assert [paths[0], paths[1], paths[2]] == [Path("a/x"), Path("a/y"), Path("c/z")]
    for index in (-1, 3):
        with pytest.raises(IndexError):
            paths[index]


def test_names_that_are_no_text_lead_to_their_files(tmp_path: Path) -> None:
    (tmp_path / "a\udcff.png").write_bytes(b"here")
    (paths,) = [read_tree(tmp_path).root.below()]
    assert paths[0].read_bytes() == b"here"


def test_a_file_takes_its_name_and_eight_bytes() -> None:
    names = [f"n01440764_{number:05d}.JPEG" for number in range(1000)]
    folders = [Path(f"/data/train/n{number:08d}") for number in range(100)]
    tracemalloc.start()
    paths = Paths((folder, names) for folder in folders)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(paths) == 100_000 and taken / len(paths) < 1.2 * (len(names[0]) + 8)
