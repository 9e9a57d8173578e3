"""The catalogue: what each problem code means, why it matters, and what to do.

A code is stable: scripts, suppressions and links name it. `docs/problems/` is generated from here.
"""

from fairlead.check.catalogue import (
    certificates,
    fields,
    files,
    gateway_api,
    gateways,
    limits,
    names,
    proxies,
    routes,
    services,
)
from fairlead.check.catalogue.entry import Entry, Subject

SUBJECTS: tuple[Subject, ...] = (
    files.SUBJECT,
    fields.SUBJECT,
    names.SUBJECT,
    gateways.SUBJECT,
    routes.SUBJECT,
    gateway_api.SUBJECT,
    services.SUBJECT,
    limits.SUBJECT,
    certificates.SUBJECT,
    proxies.SUBJECT,
)
"""In the order of the documentation."""

ENTRIES: dict[str, Entry] = {entry.code: entry for subject in SUBJECTS for entry in subject.entries}
"""Code -> what is known of it."""

__all__ = ["ENTRIES", "SUBJECTS", "Entry", "Subject"]
