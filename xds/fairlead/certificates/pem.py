"""PEM (RFC 7468): the blocks of a text, and what to say of a text that has none.

Messages tell labels and lengths, never content, because any of it may be a private key.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from fairlead.certificates.findings import Findings

_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
_PASTE_WHOLE = "Paste the whole text, with its BEGIN and END lines and the line breaks between"


class Block(NamedTuple):
    """What is between a BEGIN and an END line."""

    label: str
    """Such as ``CERTIFICATE``."""
    body: bytes
    """Base64 and white space, as written."""

    @property
    def is_private_key(self) -> bool:
        """Whether it is a private key of any format."""
        return self.label.endswith("PRIVATE KEY")

    def der(self) -> bytes:
        """Decode the body; raises ValueError when it is not base64."""
        return binascii.a2b_base64(b"".join(self.body.split()), strict_mode=True)


def read_blocks(data: Mapping[str, bytes], name: str, findings: Findings) -> list[Block]:
    """Split a data key's content into PEM blocks; none, and an error, when it is not PEM throughout."""
    content = data[name]
    blocks: list[Block] = []
    begin: re.Match[bytes] | None = None
    end = 0
    for marker in _MARKER.finditer(content):
        if begin is None and marker[1] == b"BEGIN":
            begin = marker
        elif begin is not None and marker[1] == b"END" and marker[2] == begin[2]:
            blocks.append(Block(marker[2].decode(), content[begin.end() : marker.start()]))
            begin, end = None, marker.end()
        else:
            begin = begin or marker
            break
    if begin is not None:
        message = f"{name} has the line {begin[0].decode()} without its counterpart"
        findings.error("broken-pem", name, message, _PASTE_WHOLE)
        return []
    if not blocks:
        findings.error("empty-data-key" if not content else "not-pem", name, *_explain_content(name, content))
    elif rest := len(content[end:].strip()):
        message = f"{name} has {rest} bytes after its last block, which are ignored"
        findings.warning("trailing-data", name, message, "Remove them, or complete them to a block")
    return blocks


def explain_body(block: Block) -> str:
    """Hint for a block that cannot be read."""
    return "Write real line breaks, not a backslash and an n" if b"\\n" in block.body else _PASTE_WHOLE


def _explain_content(name: str, content: bytes) -> tuple[str, str]:
    """Message and hint for content without a PEM block."""
    if not content:
        return f"{name} is empty", "Fill it, or remove it"
    if _is_der(content):
        return f"{name} is DER, not PEM", "Convert it with openssl x509, pkey or crl and -inform DER"
    try:
        if base64.b64decode(content).startswith(b"-----BEGIN"):
            return f"{name} is encoded in base64 twice", "Encode it once, or put the PEM text under stringData"
    except ValueError:
        pass  # no base64 either
    return f"{name} holds no PEM block", _PASTE_WHOLE


def _is_der(content: bytes) -> bool:
    """Whether it starts as an ASN.1 sequence does: of a length in several bytes, or that fits in one."""
    return len(content) > 1 and content[0] == 0x30 and (0x80 < content[1] < 0x85 or content[1] == len(content) - 2)
