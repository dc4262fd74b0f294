from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from safetensors import SafetensorError
from safetensors.torch import save_file

import nas
from nas.ablation.spec import load_ablation
from nas.api import load_data, load_space, write_report
from nas.cache import locked
from nas.engine.lock import lock
from nas.errors import RunError, SpecError
from nas.files import (
    SEAL,
    check_target,
    is_altered,
    no_link,
    put_in_place,
    read_sealed,
    regular,
    write_atomically,
    write_json,
    write_sealed,
    write_text,
)
from nas.plain_yaml import dump_yaml, parse_yaml, read_yaml
from tests import fuzz

# ------------------------------------------------------------------------------------------------------------- scalars

STRINGS = (
    "off no yes on y tRUE nUll none 1:30 0b11 2020-01-01 2020-01-01T10:00:00Z -0x1F 0o8 1__0 _1 1_ 1.2.3 . e5 1e + = ٣ "
    "0x inf nan 8x8 ... 1,5 -. +e1"
)
SCALARS: dict[str, Any] = {
    "12": 12,
    "010": 10,
    "089": 89,
    "-7": -7,
    "+7": 7,
    "0o17": 15,
    "0x1F": 31,
    "400_000": 400_000,
    "0": 0,
    "1e-3": 0.001,
    "2e8": 2e8,
    ".5": 0.5,
    "5.": 5.0,
    "-1.5e+2": -150.0,
    "1_0.5": 10.5,
    ".inf": float("inf"),
    "-.INF": -float("inf"),
    "true": True,
    "False": False,
    "TRUE": True,
    "null": None,
    "~": None,
    "": None,
    **{word: word for word in STRINGS.split()},
}


@pytest.mark.parametrize("text", SCALARS)
def test_scalars_mean_what_yaml_1_2_says(text: str) -> None:
    value = parse_yaml(f"key: {text}")["key"]
    assert (type(value), value) == (type(SCALARS[text]), SCALARS[text])
    for quoted in (f"'{text}'", f'"{text}"', f"|-\n  {text}"):
        assert parse_yaml(f"key: {quoted}")["key"] == text


def test_not_a_number_is_one() -> None:
    assert str(parse_yaml("[.nan, .NaN]")) == "[nan, nan]"


# -------------------------------------------------------------------------------------------------------------- merges


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3, z: 4}", {"x": 1, "y": 3, "z": 4}),
        ("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}", {"x": 1, "y": 3}),
        ("a: [&a {x: 1}, &c {x: 2, y: 2}]\nb: {<<: [*a, *c], z: 4}", {"x": 1, "y": 2, "z": 4}),
        ("a: [&a {x: 1}, &c {<<: *a, y: 2}]\nb: {<<: *c}", {"x": 1, "y": 2}),
        ("b: {<<: {x: {y: 1}}}", {"x": {"y": 1}}),
    ],
)
def test_merge_keys_are_read_as_pyyaml_reads_them(text: str, value: Any) -> None:
    ours = parse_yaml(text)
    assert ours["b"] == value
    assert list(ours["b"]) == list(yaml.safe_load(text)["b"])


def test_a_merge_key_in_quotes_is_a_key() -> None:
    assert parse_yaml("'<<': {a: 1}") == {"<<": {"a": 1}}


def test_aliases_are_copies_and_an_anchor_may_be_given_again() -> None:
    data = parse_yaml("a: &x [1]\nb: &y [*x]\nc: &x 2\nd: *y\ne: *x")
    assert data == {"a": [1], "b": [[1]], "c": 2, "d": [[1]], "e": 2}
    assert data["d"] is not data["b"]


# ------------------------------------------------------------------------------------------------------------ refusals

REFUSED = {
    "tag": ("a: !!bool x", "line 1, column 4: .*tags are not read"),
    "local tag": ("a: !x [1]", "tags are not read"),
    "bare tag": ("a: ! 1", "tags are not read"),
    "tag on a mapping": ("!!omap\na: 1", "tags are not read"),
    "duplicate key": ("a: 1\na: 2", "line 2, column 1: .*key 'a' given twice"),
    "number as a key": ("a: 1\n2: b", "line 2, column 1: .*a key must be a string, found 2; write it in quotes"),
    "null as a key": ("{null: 1}", "a key must be a string, found None"),
    "list as a key": ("? [a, b]\n: 1", "a key must be a string"),
    "mapping as a key": ("{{a: 1}: 2}", "a key must be a string"),
    "merge of a list": ("<<: [1]", "<< merges a mapping, or a list of mappings"),
    "merge of nothing": ("a: 1\n<<:", "line 2, column 1: .*<< merges a mapping"),
    "alias to nothing": ("a: *b", "nothing before is called &b"),
    "alias to itself": ("a: &a [*a]", "64 lists and mappings inside each other"),
    "merge of itself": ("a: &a\n  <<: *a", "64 lists and mappings inside each other"),
    "depth": ("[" * 65 + "]" * 65, "64 lists and mappings inside each other"),
    "depth in blocks": ("- " * 2000 + "a", "64 lists and mappings inside each other"),
    "depth by aliases": (
        "\n".join(["a0: &a0 []", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 99))]), "64 lists and mappings"
    ),
    "values": ("[" + "1," * 50_000 + "]", "more than 50,000 values"),
    "digits": ("a: " + "9" * 101, "a number of 101 characters; at most 100 are read"),
    "hexadecimal digits": ("a: 0x" + "f" * 79, "a number of 81 characters; at most 80 are read"),
    "hexadecimal digits by far": ("a: 0x" + "f" * 9999, "a number of 10,001 characters"),
    "digits of a fraction": ("a: 0." + "1" * 9999, "a number of 10,001 characters"),
    "characters": ("#" * (2**20 + 1), "more than 1,048,576 characters"),
    "NUL": ("a: \0", "not readable as YAML"),
    "escaped NUL": ('a: "\\0"', "NUL characters and lone surrogates"),
    "lone surrogate": ("a: \ud800", "not readable as YAML"),
    "escaped surrogate": ('{"\\ud800": 1}', "NUL characters and lone surrogates"),
    "no such character": ('a: "\\UFFFFFFFF"', "not readable as YAML"),
    "tab": ("a:\n\tb: 1", "line 2, column 1: not readable as YAML"),
    "tab before a value": ("a:\t1", "line 1, column 3: not readable as YAML"),
    "two documents": ("a: 1\n---\nb: 2", "line 2, column 1: .*a second document begins"),
    "version": ("%YAML 1." + "9" * 5000 + "\n--- a", "not readable as YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_name_file_and_place(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=rf"^s\.yaml: .*{message}") as raised:
        parse_yaml(text, file="s.yaml")
    assert len(str(raised.value)) < 300


def test_a_billion_laughs_are_refused_before_they_are_expanded() -> None:
    laughs = "\n".join(["a0: &a0 [lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))])
    merges = "\n".join(
        [
            "a0: &a0 {x: 1}",
            *(f"a{i}: &a{i} {{k{i}: [{', '.join([f'*a{i - 1}'] * 9)}], <<: *a{i - 1}}}" for i in range(1, 30)),
        ]
    )
    for text in (laughs, merges):
        with pytest.raises(SpecError, match="more than 50,000 values, with aliases written out"):
            parse_yaml(text)


def test_at_the_bounds_all_is_read() -> None:
    assert parse_yaml("[" * 64 + "]" * 64)
    assert parse_yaml("9" * 100) == 10**100 - 1
    assert parse_yaml("#" * 2**20) is None


@pytest.mark.parametrize("text", ["\ufeffa: 1", "%YAML 1.1\n---\na: 1\n...", "? a\n: 1", "{a: 1,}", "--- {a: 1} # b"])
def test_unusual_and_correct(text: str) -> None:
    assert parse_yaml(text) == {"a": 1}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.yaml").write_text("#" * (2**20 + 1))
    for name, message in {
        "none.yaml": "no such file",
        "binary.yaml": "not readable: .*utf-8",
        "large.yaml": "more than 1,048,576 characters",
        "": "not readable: .*directory",
        "a\0b": "not readable",
    }.items():
        with pytest.raises(SpecError, match=message):
            read_yaml(tmp_path / name)
    with pytest.raises(SpecError, match="not readable"):
        read_yaml(Path("/dev/zero"))


def test_mutations_of_the_shipped_files_are_read_or_refused() -> None:
    fuzz.main(2000)


@pytest.mark.parametrize(
    "name", ["a" * 5000, "a/" * 3000, "a\0b", "\ud800", "b" * 300], ids=["long", "deep", "nul", "surrogate", "name"]
)
@pytest.mark.parametrize("kind", ["", "imagefolder:", "parquet:"])
@pytest.mark.parametrize(
    "read", [nas.load_genome, nas.build, nas.cost, load_space, load_ablation, load_data, write_report]
)
def test_names_that_no_file_can_have_are_mistakes_of_the_user(read: Any, kind: str, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(kind + name)
    assert len(str(caught.value)) < 2500


# ---------------------------------------------------------------------------------------------------------- round trip

WORDS = (
    "off no yes on Y n true null ~ = << 1:30 1:30.5 0b11 010 089 0o17 0x1F 1_000 1e3 1e-3 .5 5. _ _1 +_ 1__0 -.inf "
    ".nan 2020-01-01 - -- 0o_7 -0b1 ... --- %a @a `a #a &a *a !a ? : 1e5. 12e03 +.e1 0x_ a:b a#b {a} [a] a,b"
)
LOOKALIKES = [
    *WORDS.split(),
    *("", " a", "a ", "? a", "- a", "a: b", "a #b", "2020-1-1 1:2:3", "it's", '"', "softmax x 2", "stages.{0,1}.split"),
    *("a\nb", "\na", "a\n", "\n", "a\n\n b", "a\r", "a\tb", "\x85", "a\u2028b", "\ufeff", "é", "🙂", "\x7f"),
    *("x" * 200, "x " * 100, "x\n" * 100),
]
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(LOOKALIKES)
LEAVES = (
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers(-(10**98), 10**98)
    | st.floats(allow_nan=False)
    | st.text("0123456789_.:eE+-xob", max_size=6)
)
DATA = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


def same(left: Any, right: Any) -> bool:
    """Equal in types and order as well."""
    return repr(left) == repr(right)


def ruamel_1_1() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    return reader


@given(DATA)
def test_what_is_dumped_is_read_back_by_any_reader(value: Any) -> None:
    text = dump_yaml(value)
    assert same(parse_yaml(text), value)
    assert same(yaml.safe_load(text), value)
    assert same(YAML(typ="safe", pure=True).load(text), value)
    assert same(ruamel_1_1().load(text), value)


@pytest.mark.parametrize("text", LOOKALIKES)
def test_lookalikes_stay_strings_for_any_reader(text: str) -> None:
    for value in (text, [text, text], {text: text}, [[{text: [text]}]]):
        test_what_is_dumped_is_read_back_by_any_reader.hypothesis.inner_test(value)


def test_what_needs_no_quotes_has_none() -> None:
    value = {"name": "softmax x 2", "image": {"size": 8}, "lr": 0.001, "split": [1, 2], "stages.{0,1}.split": None}
    assert dump_yaml(value) == (
        "name: softmax x 2\nimage: {size: 8}\nlr: 0.001\nsplit: [1, 2]\nstages.{0,1}.split: null\n"
    )


# ------------------------------------------------------------------------------------------------------------- writing


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.write_text("half")
        raise OSError("No space left on device")

    target = tmp_path / "new" / "file.txt"
    with pytest.raises(OSError, match=r"No space left|the disk is full"):
        write_atomically(target, fails)
    assert list(target.parent.iterdir()) == []
    write_text(target, "old é")
    with pytest.raises(OSError, match=r"No space left|the disk is full"):
        write_atomically(target, fails)
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]
    assert target.read_text(encoding="utf-8") == "old é"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_an_interrupt_at_any_line_leaves_the_old_file_or_the_new_one_alone(tmp_path: Path) -> None:
    """The handler of a signal raises between any two lines: of the function, and of those of Python that it calls."""
    file = tmp_path / "file"
    for line in range(1, 10_000):
        file.write_text("old")
        left = line

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            left -= event == "line"
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        try:
            sys.settrace(trace)
            write_text(file, "new")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        assert [path.name for path in tmp_path.iterdir()] == ["file"], line
        assert file.read_text() in ("old", "new")
        if left > 0:
            break
    assert line > 20, "none of its lines was interrupted"


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, events = tmp_path / "file.json", []
    flush = os.fsync

    def fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        events.append((path == tmp_path, target.exists(), path.is_file() and path.read_text()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(target, {"a": 1})
    assert events == [(False, False, '{\n "a": 1\n}\n'), (True, True, False)]


def test_folders_that_cannot_be_flushed_are_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "file", "a")
    (tmp_path / ".draft").mkdir()
    put_in_place(tmp_path / ".draft", tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_disk_that_fails_to_flush_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file", "old")

    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left|the disk is full"):
        write_text(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _as_javascript_writes_it(value: Any) -> Any:
    """4.0 is 4."""
    if isinstance(value, dict):
        return {key: _as_javascript_writes_it(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_javascript_writes_it(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@given(st.dictionaries(st.text(), PLAIN, max_size=4), st.text(), PLAIN)
def test_a_sealed_file_may_be_laid_out_anew_but_not_changed(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], key: str, value: Any
) -> None:
    assume(SEAL not in {*content, key})
    file = tmp_path_factory.mktemp("sealed") / "a.json"
    write_sealed(file, content)
    assert read_sealed(file, dict) == content
    sealed = json.loads(file.read_text())
    file.write_text(json.dumps(_as_javascript_writes_it(dict(sorted(sealed.items())))))
    assert read_sealed(file, dict) == content
    same = key in content and _as_javascript_writes_it(content[key]) == _as_javascript_writes_it(value)
    assert is_altered(sealed | {key: value}) != (same and str(content[key]) == str(value))
    for gone in content:
        assert is_altered({key: sealed[key] for key in sealed if key != gone})


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_what_never_ends_is_not_a_file(name: str, place: str, request: pytest.FixtureRequest) -> None:
    """A link to a device; a pipe that nobody writes to. /dev/shm holds files."""
    folder = Path(tempfile.mkdtemp(dir=place))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    file = folder / "genome.yaml"
    os.mkfifo(file) if name == "pipe" else file.symlink_to(name)
    with pytest.raises(SpecError, match=r"genome\.yaml: not readable: .*a pipe or a device, where a file is expected"):
        read_yaml(file)


def test_a_device_itself_is_not_a_file() -> None:
    with pytest.raises(OSError, match="a pipe or a device, where a file is expected"):
        regular(Path("/dev/zero"))


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd", "/proc/PID/fd"])
def test_a_pipe_of_the_shell_is_read(folder: str) -> None:
    source, target = os.pipe()
    os.write(target, b"{split: 2}")
    os.close(target)
    assert read_yaml(Path(folder.replace("PID", str(os.getpid())), str(source))) == {"split": 2}
    os.close(source)


def test_what_is_read_of_a_number_is_read_when_it_is_written() -> None:
    for text in ("0x" + "f" * 78, "0o" + "7" * 98, "9" * 100):
        value = parse_yaml(f"a: {text}")
        assert parse_yaml(dump_yaml(value)) == value


def test_new_files_follow_the_umask_and_written_ones_keep_their_permissions(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "new", "mine")
        write_text(tmp_path / "new", "still mine")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    (tmp_path / "new").chmod(0o640)
    write_text(tmp_path / "new", "the group's, too")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_weights_have_the_permissions_of_other_files(tmp_path: Path) -> None:
    """safetensors makes its file for its owner alone."""
    before = os.umask(0o002)
    try:
        write_atomically(tmp_path / "weights.safetensors", lambda path: save_file({"w": torch.ones(2)}, path))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == 0o664


def test_a_draft_is_no_more_readable_than_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0o600)
    write_atomically(tmp_path / "secret", lambda path: path.write_text(oct(stat.S_IMODE(path.stat().st_mode))))
    assert (tmp_path / "secret").read_text() == "0o600"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe or a device, where a file is expected"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo() and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_target_is_looked_at_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what writes later does nothing before: no image is loaded, no model is built, no run is read."""
    monkeypatch.chdir(tmp_path)
    check_target(Path("new/folder/table.json"), "--out")
    calls: list[Callable[[], object]] = [
        lambda: nas.api.describe_data("no such source", sheet="."),
        lambda: nas.api.describe_data("no such source", sheet="/dev/full"),
        lambda: nas.api.describe_data("no such source", sheet="/dev/null/sheet.png"),
        lambda: nas.export("none.yaml", "/dev/null/model.pt2"),
        lambda: nas.write_report("none", "neither", out="/dev/null/page.html"),
    ]
    for call, said in zip(calls, ("--sheet", "--sheet", "--sheet", "--to", "--out"), strict=True):
        with pytest.raises(SpecError, match=f"{said}: (a sheet is a PNG|a file cannot be written there: Not a dir)"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_the_user_may_not_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    user = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for call, said in (
        ("check_target(Path('t.csv'), '--out')", "t.csv: --out: a file cannot be written there: Permission denied\n"),
        ("write_text(Path('t.csv'), '')", "Permission denied: 't.csv'\n"),  # not the name of a temporary file
    ):
        code = f"from nas.files import *; from pathlib import Path; {call}"
        found = subprocess.run([*user, sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert found.stderr.endswith(said), found.stderr


def test_an_address_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would become a folder `s3:` here, with the secret in the name of another one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"a path of this machine is expected, found an address: 's3:/KEY:\*\*\*@bucket"):
        write_text(Path("s3://KEY:sesame@bucket/table.csv"), "text")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_no_link(tmp_path: Path) -> None:
    """A run directory from elsewhere may have any: what it points to would be overwritten."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="the directory is not writable"), lock(tmp_path / "run", tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_file_system_without_locks_is_gone_on_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock(tmp_path, tmp_path), locked(tmp_path / "images"):
        pass
    assert "no lock can be taken here (No locks available)" in caplog.text


def test_a_full_disk_is_said_whatever_the_writer_raises(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="the disk is full"):
        write_atomically(tmp_path / "weights.safetensors", write)


def test_what_a_run_writes_into_is_no_link(tmp_path: Path) -> None:
    """A run from elsewhere: what lies at the other end is of another run."""
    (tmp_path / "winners").symlink_to(tmp_path)
    with pytest.raises(RunError, match="winners: a link, where the run writes"):
        no_link(tmp_path / "winners")
    assert no_link(tmp_path / "figures") == tmp_path / "figures"
