"""Detects credentials in URLs, which are refused in stored URLs and masked in quoted ones.

    scheme://USER:SECRET@host/...       even if the secret has slashes or percent signs
    ...?secret_key=SECRET               any name like password, secret, token, key, ...

Credentials belong in ~/.pgpass or PGPASSWORD for databases, and in the environment or files such as ~/.aws for object
stores. From there nothing is copied into run.yaml, messages or pages.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_NAMES = r"[\w.-]*(?:pass(?!file)|pwd|secret|token|key|credential|signature)[\w.-]*|sig"  # passfile is only a path
_USER = re.compile(r"(://[^/@:]*:).*@", re.DOTALL)
_ENCODED = re.compile(r"://\S*%\S*")
_QUERY = re.compile(rf"([?&;](?:{_NAMES})=)[^&;#'\"\s]*", re.IGNORECASE)


def has_credentials(url: str) -> bool:
    """Whether a URL contains a password or the like.

    >>> has_credentials("s3://bucket/nas?region=eu-west-1"), has_credentials("s3://KEY:SECRET@bucket/nas")
    (False, True)
    """
    return masked(plain := unquote(url)) != plain


def masked(text: str) -> str:
    """A text with the secrets in its URLs masked.

    >>> masked("postgresql://me:secret@host/db?sslkey=my.key")
    'postgresql://me:***@host/db?sslkey=***'
    """
    plain = _ENCODED.sub(lambda found: unquote(found[0]), text)
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", plain))
