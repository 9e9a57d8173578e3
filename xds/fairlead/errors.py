"""The exceptions that Fairlead raises.

::

    FairleadError
    ├── SettingsError      a command line option or setting cannot be used
    ├── SourceError        objects cannot be read at all (not: one of them is faulty)
    ├── ProtocolError      an xDS client broke the protocol; its stream ends
    │   ├── LimitError     it asks for more than one client may have
    │   └── IdentityError  it is not who it says that it is, or does not say it in the way that is asked for
    └── AdminError         a running server cannot be asked for its state

A fault in a user's object is never an exception: it is a `fairlead.problems.Problem`, a value, so that
one faulty object cannot stop the work on the others.
"""


class FairleadError(Exception):
    """Base of every exception that a caller of Fairlead may want to catch; `str()` of it is fit for a person."""


class SettingsError(FairleadError):
    """A setting cannot be used; the message names the option, the value and what is accepted."""


class SourceError(FairleadError):
    """A source of objects cannot be read at all, for example because its folder does not exist."""


class ProtocolError(FairleadError):
    """An xDS client sent what the protocol does not allow; its stream is ended with INVALID_ARGUMENT."""


class LimitError(ProtocolError):
    """An xDS client exceeds a limit; its stream is ended with RESOURCE_EXHAUSTED."""


class IdentityError(ProtocolError):
    """An xDS client may not have what it asks for; its stream is ended with PERMISSION_DENIED."""


class AdminError(FairleadError):
    """The admin endpoint of a running server could not be reached or did not answer as expected."""
