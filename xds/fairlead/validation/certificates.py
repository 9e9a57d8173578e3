"""Certificates that cannot be served, whatever kind of object holds them."""

from collections.abc import Iterator, Mapping, Sequence

from fairlead.certificates import read_key_pair, read_trust_bundle
from fairlead.problems import FieldPath, ObjectKey, Problem, Severity


def faults_of_key_pair(data: Mapping[str, bytes], key: ObjectKey, path: FieldPath) -> Iterator[Problem]:
    """Why a certificate and its key cannot be served; nothing when they can."""
    pair, problems = read_key_pair(data, key, path)
    if pair is None:
        yield from _errors(problems)


def faults_of_trust_bundle(
    data: Mapping[str, bytes], key: ObjectKey, path: FieldPath, names: tuple[str, ...] = ("cacert", "ca.crt")
) -> Iterator[Problem]:
    """Why CA certificates cannot be served; nothing when they can."""
    bundle, problems = read_trust_bundle(data, key, path, names)
    if bundle is None:
        yield from _errors(problems)


def _errors(problems: Sequence[Problem]) -> Iterator[Problem]:
    return (problem for problem in problems if problem.severity is Severity.ERROR)
