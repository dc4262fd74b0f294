"""Secrets in URLs are refused wherever a URL is kept, and no message shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cli import main
from nas.credentials import has_credentials, hidden, masked
from nas.engine.storage import Storage
from nas.environment import typed_command
from nas.errors import SpecError, shown
from nas.search import SearchSpec

SECRET = "sesame"
HARMLESS = [
    "postgresql://me@db.example.org/nas",
    "postgresql://me@[::1]:5432/nas?sslmode=require&passfile=/home/me/.pgpass",
    "postgresql://localhost:5432/nas?connect_timeout=3",
    "s3://bucket/nas?region=eu-west-1&endpoint_override=host:9000&scheme=http",
    "abfs://container@account.dfs.core.windows.net/nas",
    "sqlite:////tmp/study.db",
    "file:///mnt/a:b@c",
    "https://host/mlflow/@latest",
]
QUERIES = (
    "password",
    "PASSWORD",
    "sslpassword",
    "sslkey",
    "token",
    "auth_token",
    "secret_key",
    "access-key",
    "api.key",
    "auth",
    "jwt",
)
SECRETS = [
    f"postgresql://me:{SECRET}@host/db",
    f"postgresql://:{SECRET}@host/db",
    f"postgresql:/me:{SECRET}@host/db",
    f"postgresql//me:{SECRET}@host/db",
    f"postgresql://me:p@{SECRET}@host/db",
    f"postgresql://host/db?user=me&pass%77ord={SECRET}",
    f"s3://KEY:{SECRET}@bucket/nas",
    f"s3://KEY:a/{SECRET}+b@bucket/nas",
    f"s3://KEY%3A{SECRET}%40bucket/nas",
    f"s3:/KEY:{SECRET}@bucket/nas",
    f"s3:KEY:{SECRET}@bucket/nas",
    f"s3://K/Y:{SECRET}@bucket/nas",
    f"s3://KEY:a%20{SECRET}@bucket/nas",
    f"s3://KEY:a%27{SECRET}@bucket/nas",
    f"s3://KEY:a {SECRET}@bucket/nas",
    f"s3://KEY:a'{SECRET}@bucket/nas",
    f"postgresql://me%40host:{SECRET}@host/db",
    f"postgresql://me@host:{SECRET}@host/db",
    f"postgresql://me%253A{SECRET}%2540host/db",
    f"postgresql://host/db?password=a%26{SECRET}",
    f"postgresql://host/db?password=a%23{SECRET}",
    f"postgresql://host/db?password=a%20{SECRET}",
    f"postgresql://host/db?pass%2577ord={SECRET}",
    f"postgresql://host/db?options=-c%20password%3D{SECRET}",
    f"https://{SECRET}@host/api",
    f"HTTP:/{SECRET}@host",
    f"https://%73{SECRET}%40host",
    f"postgresql://?dsn=host=h password={SECRET}",
    *(
        f"{scheme}?{name}={SECRET}"
        for name in (*QUERIES, "sig", "pwd")
        for scheme in ("postgresql://host/db", "s3://bucket/nas")
    ),
]


@pytest.mark.parametrize("url", HARMLESS)
def test_what_holds_no_secret_is_left_alone(url: str) -> None:
    assert not has_credentials(url)
    assert masked(url) == url


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_is_found_and_hidden(url: str) -> None:
    assert has_credentials(url)
    for text in (hidden(url), shown(url), shown({"storage": [url]}), shown([1, url, "b@c"])):
        assert SECRET not in text
    if not {" ", "'"} & set(url):  # in a text, a URL ends there
        assert SECRET not in masked(url)


SPEC: dict[str, Any] = {"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [1, 2]}}}


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.parametrize(
    "keys",
    [
        lambda url: {"study": url},
        lambda url: {"study": [url]},
        lambda url: {"study": {"url": url}},
        lambda url: {"data": [url], "study": url},
        lambda url: {"storage": {url: url}},
        lambda url: {"trials": url},
        lambda url: {"workers": url},
        lambda url: {"sampler": url},
        lambda url: {"scheduler": {"name": url}},
    ],
)
def test_no_message_about_a_space_has_it(url: str, keys: Any) -> None:
    with pytest.raises(SpecError) as refused:
        SearchSpec.parse(SPEC | keys(url))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", [url for url in SECRETS if url.startswith("s3:")])
def test_a_storage_with_a_secret_is_refused_before_it_is_tried(url: str) -> None:
    with pytest.raises(SpecError, match=r"^storage: run.yaml keeps this URI: leave credentials to") as refused:
        Storage.of(url, Path("results/r"))
    assert SECRET not in str(refused.value)


@given(st.text(st.characters(categories=["L", "N"]), min_size=4).map(lambda text: f"§{text}"))
def test_any_password(secret: str) -> None:
    assert secret not in masked(f"'postgresql://me:{secret}@host/db?password={secret}&x=1'")


@pytest.mark.parametrize("url", SECRETS)
def test_the_command_in_a_record_has_no_secret(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("sys.argv", ["nas", "search", "my space", "--set", f"study={url}", f"--run={url}"])
    command = typed_command()
    assert SECRET not in command
    assert command.startswith("nas search 'my space' --set ")


@pytest.mark.parametrize(
    "command",
    [
        f"search lavit_split --data parquet:s3://KEY:{SECRET}@bucket/x",
        f"search lavit_split --data parquet:s3://bucket/x?sig={SECRET}",
        f"search lavit_split --dry-run --data parquet:s3://KEY:{SECRET}@bucket/x",
        f"search lavit_split --start timm:x@https://u:{SECRET}@host/x.pth",
        f"ablate lavit_parts --data parquet:s3://KEY:{SECRET}@bucket/x",
        f"convert timm:x@https://u:{SECRET}@host/x.pth --data digits",
        f"train lavit_digits --data parquet:s3://KEY:{SECRET}@bucket/x --out made",
        f"latency https://u:{SECRET}@host/x.yaml --out table.json",
        f"search lavit_split s3://KEY:{SECRET}@bucket",
        f"s3://KEY:{SECRET}@bucket",
        f"--storage=s3://KEY:{SECRET}@bucket",
        f"data digits --s3://KEY:{SECRET}@bucket",
        f"data digits --size s3://KEY:{SECRET}@bucket",
    ],
)
def test_no_command_prints_it_before_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nas", *command.split()])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr()
    assert told.err.startswith(("nas: ", "Usage: ", "Try ")) and SECRET not in told.out + told.err
    assert list(tmp_path.iterdir()) == []


def test_a_storage_whose_slashes_were_forgotten_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("s3:/bucket/nas", "s3:bucket/nas", "file:nas"):
        with pytest.raises(SpecError, match=r"^storage: expected a path, file://, s3://bucket/folder, .* found '"):
            Storage.of(place, Path("results/r"))
    assert list(tmp_path.iterdir()) == []
