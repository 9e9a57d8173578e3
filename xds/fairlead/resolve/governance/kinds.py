"""The kinds that are about requests."""

from fairlead.resolve.governance.breakers import BREAKERS
from fairlead.resolve.governance.global_limits import GLOBAL_LIMITS
from fairlead.resolve.governance.local_limits import LOCAL_LIMITS

KINDS = (LOCAL_LIMITS, GLOBAL_LIMITS, BREAKERS)
"""Each knows nothing of the others: a route has one policy of each."""
