"""The dialects that are spoken."""

from typing import Final

from fairlead.resolve.dialect import Dialect
from fairlead.resolve.gateway_api import dialect as gateway_api
from fairlead.resolve.istio import dialect as istio

DIALECTS: Final[tuple[Dialect, ...]] = (istio, gateway_api)
"""Where two have routes for one virtual host, those of the former are tried first."""
