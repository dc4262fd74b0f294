"""Credentials in URLs: recognised, so that they are refused where a URL is kept, and hidden where one is quoted.

    scheme://USER:SECRET@host/...       also where the secret has slashes or percent signs; also scheme:/ and scheme//
    ...?secret_key=SECRET               whatever is called password, secret, token, key, ...

A database has ~/.pgpass and PGPASSWORD for them, object stores have the environment and files such as ~/.aws. From
there nothing is copied into run.yaml, messages or pages.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_NAMES = r"[\w.-]*(?:pass(?!file)|pwd|secret|token|key|credential|signature)[\w.-]*|sig"  # passfile is only a path
_USER = re.compile(r"((?:://?|//)[^/@:\s]*:)[^\s'\"]*@")  # a slash or the colon may have been forgotten
_ENCODED = re.compile(r"://\S*%\S*")
_QUERY = re.compile(rf"([?&;](?:{_NAMES})=)[^&;#'\"\s]*", re.IGNORECASE)


def has_credentials(url: str) -> bool:
    """Whether a URL has a password or the like in it.

    >>> has_credentials("s3://bucket/nas?region=eu-west-1"), has_credentials("s3://KEY:SECRET@bucket/nas")
    (False, True)
    """
    return masked(plain := unquote(url)) != plain


def masked(text: str) -> str:
    """A text without the secrets of the URLs in it.

    >>> masked("postgresql://me:secret@host/db?sslkey=my.key")
    'postgresql://me:***@host/db?sslkey=***'
    """
    plain = _ENCODED.sub(lambda found: unquote(found[0]), text)
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", plain))
