"""What every part of the intent uses."""

from fairlead.problems import ObjectKey

Origin = tuple[ObjectKey, ...]
"""The objects that a node comes from."""
Nanoseconds = int
PartsPerMillion = int
