"""Objects in files.

`disk` looks at folders and reads files, `watch` tells when something has changed, `folder` (pure) decides what the
files' contents mean, `accept` (pure) makes objects of documents, `store` keeps accepted documents over a restart.
`source` joins them to a source that follows changes, `once` reads a single time.
"""
