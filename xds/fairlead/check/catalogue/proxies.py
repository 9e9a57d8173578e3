"""Problems that proxies tell of."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "proxies",
    "Proxies",
    (
        Entry(
            "refused-by-proxy",
            "a proxy does not take what was made of the object, for the reason that it gives; it goes on with what it "
            "accepted last. See [what is refused](../status.md#what-a-proxy-refuses)",
            "The object, as it is now, does not apply to that proxy; all other objects do.",
            "Correct what the proxy complains about, or report it: what is accepted here should not be refused there.",
        ),
    ),
)
