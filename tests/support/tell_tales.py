"""Pieces of keys, by which they are recognised wherever they turn up."""

import base64

from fairlead.certificates.issuing import Issued

_PIECE = 24
"""Bytes; shorter ones could occur by chance, longer ones be broken by a line's end."""


def of_pem(pem: bytes) -> list[bytes]:
    """Pieces of what is between BEGIN and END: as it is, decoded, and encoded once more with all around it."""
    body = b"".join(pem.split(b"\n")[1:-2])
    content = base64.b64decode(body)
    assert len(content) > 60
    # How quotes are shown depends on which of them the rest has.
    at = next(at for at in range(40, len(content)) if not set(content[at : at + _PIECE]) & set(b"'\""))
    piece = content[at : at + _PIECE]
    shown = [body[40 : 40 + _PIECE], piece, repr(piece)[2:-1].encode()]
    # Base64 of base64 depends on where it begins.
    shown += [base64.b64encode(pem[first:])[72 : 72 + _PIECE] for first in range(3)]
    return shown


def of_key(pair: Issued) -> list[bytes]:
    return of_pem(pair.key_pem.reveal())


def betray(seen: bytes | str, pieces: list[bytes]) -> bool:
    """Whether one of the pieces is in what has been seen."""
    text = seen.encode() if isinstance(seen, str) else seen
    flat = text.replace(b"\n", b"").replace(b" ", b"").replace(b"\\n", b"")
    return any(piece in text or piece.replace(b"\n", b"") in flat for piece in pieces)
