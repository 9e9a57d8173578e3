"""The dialects that are spoken."""

from typing import Final

from fairlead.resolve.dialect import Dialect
from fairlead.resolve.istio import dialect as istio

DIALECTS: Final[tuple[Dialect, ...]] = (istio,)
"""Where two have routes for one virtual host, those of the former are tried first."""
