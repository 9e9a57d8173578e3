"""The kinds that are about requests."""

from fairlead.resolve.governance.local_limits import LOCAL_LIMITS

KINDS = (LOCAL_LIMITS,)
"""Each knows nothing of the others: a route has one policy of each."""
