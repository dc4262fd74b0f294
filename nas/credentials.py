"""Credentials in URLs: recognised, so that they are refused where a URL is kept, and hidden where one is quoted.

    scheme://USER:SECRET@host/...       up to the last @, whatever is in the secret; also scheme:/, scheme// and scheme:
    ...?secret_key=SECRET               whatever is called password, secret, token, key, ..., up to the end of the URL
    host=h password=SECRET              as libpq takes it

Encoded characters are decoded first, up to five times over. Rather too much is hidden than too little: of a
harmless URL with an @ behind a colon, the part between. A user without a password is no secret, but over HTTP, where it
is a token as often (`https://TOKEN@host`).

A database has ~/.pgpass and PGPASSWORD for them, object stores have the environment and files such as ~/.aws. From
there nothing is copied into run.yaml, messages or pages.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

_NAMES = (  # passfile is only a path
    r"[\w.-]*(?:pass(?!file)|pwd|secret|token|key|credential|signature|auth|jwt)[\w.-]*|sig|sas|pw"
)
# What a user comes after. Paths of files may have any @ and colon.
_BEGIN = re.compile(r"(?<!file)(?<!sqlite):/|(?<![:/])//|(?:^|[='\"])[a-z][\w+.-]*:(?=[^:/@\s]+:)")
_QUERY = re.compile(rf"([?&;](?:{_NAMES})=).*|(?<![\w.-])((?:password|passwd|pwd|secret|token)=).*", re.I | re.DOTALL)
_HTTP_USER = re.compile(r"(https?:/*)[^/@\s]+(?=@)", re.I)
_WORD = re.compile(r"[^\s'\"]+")


def has_credentials(url: str) -> bool:
    """Whether a URL has a password or the like in it.

    >>> has_credentials("s3://bucket/nas?region=eu-west-1"), has_credentials("s3://KEY:SECRET@bucket/nas")
    (False, True)
    """
    return bool(hidden(url) != url)


def hidden(value: Any, depth: int = 20) -> Any:
    """A URL or any other value of the user's, with the strings in it without their secrets.

    >>> hidden({"study": "postgresql://me:my secret@host/db?sslkey=my.key"})
    {'study': 'postgresql://me:***@host/db?sslkey=***'}
    """
    if isinstance(value, str):
        plain = _decoded(value)
        without = _QUERY.sub(lambda found: f"{found[1] or found[2]}***", _without_user(plain))
        return value if without == plain else without
    if depth and type(value) is dict:
        return {hidden(key, 0): hidden(each, depth - 1) for key, each in value.items()}
    if depth and type(value) in (list, tuple):
        return type(value)(hidden(each, depth - 1) for each in value)
    return value


def masked(text: str) -> str:
    """A text, such as another program's message, in which each word is without its secret.

    >>> masked("cannot reach postgresql://me:secret@host/db?sslkey=my.key on port 5432")
    'cannot reach postgresql://me:***@host/db?sslkey=*** on port 5432'
    """
    return _WORD.sub(lambda found: hidden(found[0]), text)


def _without_user(url: str) -> str:
    end = url.rfind("@")
    begin = _BEGIN.search(url, 0, max(end, 0))
    colon = url.find(":", begin.end(), end) if begin else -1
    return _HTTP_USER.sub(r"\1***", url if colon < 0 else f"{url[: colon + 1]}***{url[end:]}")


def _decoded(text: str) -> str:
    for _ in range(5):
        text = unquote(text)
    return text
