"""Asking a running server's admin endpoint."""

import json
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.error import HTTPError

from fairlead.errors import AdminError
from fairlead.server.settings import Address

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks directly, whatever HTTP proxy the environment names."""


def ask(address: Address, path: str, read: Callable[[Any], T]) -> T:
    """What `read` makes of the JSON of a page; raises `AdminError` with what to do."""
    try:
        with _opener.open(f"http://{address}{path}", timeout=_PATIENCE) as answer:
            return read(json.load(answer))
    except HTTPError as error:
        words = error.read(4096).decode(errors="replace").strip()
        raise AdminError(f"{address} answers with {error.code}: {words or 'nothing'}") from error
    except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AdminError(
            f"no answer from {address} ({error}); is `fairlead serve` running, with this --admin-address?"
        ) from error
