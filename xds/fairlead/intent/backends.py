"""The identity of what requests are sent to."""

from typing import NamedTuple


class Backend(NamedTuple):
    """Identity of a group of endpoints: one port of a service, or of a subset of it. It names a cluster."""

    host: str
    """Fully qualified name of the service; empty for the application that a sidecar stands before."""
    port: int
    """Number of the service's port, not of the endpoints'; of an application, the port that others reach it at."""
    subset: str = ""
    """Name of the subset, empty for all endpoints; of an application, the object that says how it is talked to."""


ANY_HOST = Backend("*", 0)
"""Whatever host a request is for: the proxy resolves its name, and the port is the one that the request names."""

RUNTIME = Backend("fairlead-runtime", 0)
"""Our own services that proxies call while they serve requests."""
