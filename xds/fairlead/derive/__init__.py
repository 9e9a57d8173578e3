"""Derived values: pure functions whose results are kept, and recomputed only when what they read has changed.

The pieces, from the inside out:

`Input`
    A keyed collection of facts that the outside sets and deletes.
`@derived`
    A plain pure function of a world and hashable arguments. While it runs, everything that it reads - keys of
    collections, other derived functions - is recorded. It runs again only when one of those has changed, and a
    result equal to the old one stops the wave there (early cutoff).
`@derived_map`
    A keyed collection: one derived value per key of another collection. It recomputes only the keys that are due.
`@shared_map`
    The same, but the values are those of a derived function that other maps use as well.
`@derived_index`
    A keyed collection that turns another one around: group -> the keys whose value belongs to that group.

Collections pass on *which keys* changed, so that an aggregate of 50,000 members costs one member's work per edit.

Theory of operation. A change of an input begins a new *epoch*, and marks what read it as DIRTY, what depends on that
as CHECK (perhaps dirty). Marked members of a map queue up in the map, and the map is *pending*, as is a collection
whose source has changed. Nothing else happens until somebody asks, or lets `Graph.settle_steps` carry the change on.
As long as nothing is pending, every collection that has been computed is up to date. Else a question first brings the
collections up to date that the answer is known to depend on (`Computed.upstream`), for only then have all marks
arrived; then a CHECK node asks its dependencies, and a DIRTY node runs. What has been verified in this epoch is
answered at once. Nodes that nobody reads any more are dropped.

Functions must be pure and must not change inputs. One thread uses a graph at a time.
"""

from fairlead.derive.collections import Changes, Collection, Index, Input, KeyedMap
from fairlead.derive.functions import Derived, derived, derived_index, derived_map, shared_map
from fairlead.derive.nodes import Graph, HasGraph

__all__ = [
    "Changes",
    "Collection",
    "Derived",
    "Graph",
    "HasGraph",
    "Index",
    "Input",
    "KeyedMap",
    "derived",
    "derived_index",
    "derived_map",
    "shared_map",
]
