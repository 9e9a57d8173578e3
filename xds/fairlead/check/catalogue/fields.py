"""Problems of kinds and fields."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "fields",
    "Kinds and fields",
    (
        Entry(
            "conflicting-fields",
            "fields exclude each other, such as two of which one can be set",
            "Which of them would win is left to chance, so the object is not accepted.",
            "Keep one of them.",
            istio=("IST0106",),
        ),
        Entry(
            "deprecated-field",
            "the field is out of use in its API; the message says what it does here",
            "It may mean something else than it did, and later versions of the API do not have it.",
            "Write the field that the hint names.",
            istio=("IST0002",),
        ),
        Entry(
            "duplicate-value",
            "two entries of a list have the same name, port or host",
            "One of them could never be used.",
            "Remove one, or give it another name.",
            istio=("IST0106",),
        ),
        Entry(
            "invalid-value",
            "a value of the right type that the field cannot have",
            "The object is not accepted, since a proxy would refuse it or do something else.",
            "Write one of the values that the message allows.",
            istio=("IST0106",),
        ),
        Entry(
            "missing-field",
            "a field that is required is not there, or empty",
            "Without it there is no telling what the object is to do.",
            "Add it.",
            istio=("IST0106",),
        ),
        Entry(
            "no-effect",
            "the setting does nothing in this place, by its API",
            "Whoever reads it believes that it does.",
            "Leave it out, or move it to where the message says that it works.",
        ),
        Entry(
            "out-of-range",
            "a number or duration is too large or too small",
            "A proxy would refuse it, or do something else.",
            "Stay within the limits that the message names.",
            istio=("IST0106",),
        ),
        Entry(
            "too-many",
            "a list is longer than its API allows",
            "A cluster's API server refuses the object, so the same file works here and fails there.",
            "Split the object in two.",
            istio=("IST0106",),
        ),
        Entry(
            "unknown-field",
            "no field of that name; likely a typing error",
            "What it was meant to set is not set.",
            "Correct the name, or remove the field.",
            istio=("IST0106",),
        ),
        Entry(
            "unsupported-field",
            "a field that Fairlead does not translate; the message says what happens instead",
            "Traffic does not get what the field promises.",
            "Do what the hint says, or leave the field out.",
        ),
        Entry(
            "unsupported-kind",
            "a kind of a known group that is not served, or a mistyped kind or group",
            "The object has no effect; policies of such kinds do not protect anything.",
            "Correct the kind, or remove the object.",
        ),
        Entry(
            "unsupported-value",
            "a value that Fairlead does not translate, of a field that it does",
            "Traffic does not get what the value promises; the message says what it gets.",
            "Use a value that the message or hint names.",
        ),
        Entry(
            "unsupported-version",
            "the kind is known, but not in this API version",
            "The object is not used, since the fields of that version may mean something else.",
            "Write the version that the message names.",
        ),
        Entry(
            "wrong-type",
            "a text where a number is expected, and so on",
            "The object is not accepted. YAML's own rules are often behind it: `y`, `on` and `010` are no texts.",
            "Write a value of the right type; put texts that look like numbers or booleans in quotes.",
            istio=("IST0106",),
        ),
    ),
)
