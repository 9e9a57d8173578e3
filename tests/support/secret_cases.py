"""Cases of a Secret's data, and material that many of them use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding
from fairlead.problems import ObjectKey, Problem
from support.pki import MUST_STAPLE, SHOP, Authority, key_pem

SECRET = ObjectKey("", "Secret", "istio-system", "shop")
DATA = ("data",)

ROOT = Authority("Root")
INTERMEDIATE = Authority("Intermediate", "ec-secp384r1-ca", ROOT)
OTHER = Authority("Other", "ec-secp521r1-ca")
LEAF = ROOT.issue("shop", "rsa-2048", SHOP)
CERT = LEAF.public_bytes(Encoding.PEM)
KEY = key_pem()
STAPLED = ROOT.issue("shop", "rsa-2048", MUST_STAPLE)


def shown(problems: tuple[Problem, ...]) -> list[str]:
    """`severity code data-key` of each problem, after a look at what every problem needs."""
    for problem in problems:
        assert problem.key == SECRET
        assert problem.path[:1] == DATA
        assert problem.hint
        assert not problem.message.endswith(".")
    return [" ".join((item.severity, item.code, *map(str, item.path[1:]))) for item in problems]


@dataclass(frozen=True)
class Case:
    """Data of a Secret, what we report, whether something is served, and whether Envoy takes the data as they are."""

    data: Callable[[], Mapping[str, bytes]]
    problems: tuple[str, ...] = ()
    served: bool = True
    envoy_takes: bool | None = None

    def agrees_with(self, refusal_of_raw_data: str | None) -> bool:
        expected = self.served if self.envoy_takes is None else self.envoy_takes
        return (refusal_of_raw_data is None) is expected


def block(label: str, body: bytes = b"AAAA") -> bytes:
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), body, label.encode())
