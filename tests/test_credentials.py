"""Secrets in URLs are refused wherever a URL is kept, and no message shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.credentials import has_credentials, masked
from nas.engine.storage import Storage
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
    for text in (masked(url), shown(url), shown({"storage": [url]}), shown([1, url, "b@c"])):
        assert SECRET not in text


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
