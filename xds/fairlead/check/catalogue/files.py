"""Problems of files and documents."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "files",
    "Files and documents",
    (
        Entry(
            "duplicate-key",
            "a field is given twice, or in both its spellings, `camelCase` and `snake_case`",
            "Tools disagree on which of the two counts, so the object is not used.",
            "Keep one of them.",
        ),
        Entry(
            "duplicate-object",
            "the same object is written in two places; the first by path counts",
            "An edit of the other copy does nothing.",
            "Remove one copy, or give it another name.",
        ),
        Entry(
            "file-too-large",
            "a file of more than 64 MiB is not read",
            "None of its objects is served.",
            "Split the file; a Secret or ConfigMap of that size could not be stored by Kubernetes either.",
        ),
        Entry(
            "internal",
            "Fairlead failed to read the object: its own bug; other objects are not affected",
            "The object is not served, or its last accepted version is.",
            "Report it, with the object.",
        ),
        Entry(
            "no-such-path",
            "a path that was given to `serve` does not exist; a server waits for it",
            "Nothing is served before it exists, since an empty configuration would end all traffic.",
            "Correct the path, or create it.",
        ),
        Entry(
            "not-an-object",
            "a document without `apiVersion` and `kind`; it is not used",
            "Whatever it was meant to configure is not configured.",
            "Write both, or keep files that are no objects (such as Helm values) out of the folder.",
        ),
        Entry(
            "not-watched",
            "the system does not tell of changes, so files are looked at periodically",
            "Changes take seconds instead of milliseconds to reach proxies.",
            "Raise the limit that the message names, such as `fs.inotify.max_user_watches`.",
        ),
        Entry(
            "state-damaged",
            "what was kept for a restart could not be read, and was begun anew",
            "Objects whose files are broken right now have no earlier version to fall back to.",
            "Correct the files that are reported; look at the disk if it comes again.",
        ),
        Entry(
            "state-unusable",
            "accepted objects cannot be kept: a restart while a file is broken would lose its objects",
            "Proxies would lose what these objects configure.",
            "Give `--state-dir` a folder that the server can write to.",
        ),
        Entry(
            "syntax",
            "the text is no YAML or JSON",
            "Nothing of the document is used; other documents of the file are.",
            "Correct the text; the position is where the parser gave up, so look at the line before it as well.",
            istio=("IST0106",),
        ),
        Entry(
            "unknown-suppression",
            "an annotation suppresses a code that does not exist",
            "What it was meant to silence is still reported.",
            "Correct the code; this page lists all of them.",
        ),
        Entry(
            "unreadable-file",
            "permissions, a link to nothing, or no regular file",
            "None of its objects is served.",
            "Let the server's user read it, or remove it.",
        ),
    ),
)
