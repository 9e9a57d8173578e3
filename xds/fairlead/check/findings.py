"""All that is wrong with the objects of a world, for the proxies that they must be meant for."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from fairlead import diagnosis
from fairlead.certificates import (
    EXPIRES_SOON,
    CertificateDetails,
    KeyPair,
    RevocationDetails,
    TrustBundle,
    read_key_pair,
    read_trust_bundle,
    validity_problems,
)
from fairlead.check import exposure, governance, hosts, policies, routes, scheduling, services
from fairlead.check.suppression import unknown_suppressions
from fairlead.models.asm.credential import ASMCredential
from fairlead.models.core import ConfigMap, Secret
from fairlead.problems import FieldPath, ObjectKey, Problem
from fairlead.resolve.selection import everybody_implied, selection, selection_problems
from fairlead.world import World


def findings(world: World, now: datetime, soon: timedelta = EXPIRES_SOON) -> set[Problem]:
    """Problems without places: of the objects by themselves, of what they refer to, of certificates at that time.

    A certificate that ends within `soon` is one of them.
    """
    found = set(diagnosis.review_problems(world))
    advice = {
        *routes.problems(world),
        *services.problems(world),
        *governance.problems(world),
        *scheduling.problems(world),
    }
    advice.update(unknown_suppressions(world))
    rules: set[ObjectKey] = set()
    for proxy in everybody_implied(world):
        found.update(selection_problems(world, proxy))
        selected = selection(world, proxy)
        found |= diagnosis.problems(world, selected, proxy.locality)
        advice.update(hosts.problems(world, selected), exposure.problems(world, proxy, selected))
        advice.update(routes.shadows(world, selected))
        rules.update(policies.used(world, selected))
    advice.update(policies.problems(world, rules))
    advice |= expiring_certificates(world, now, soon)
    # What is also told of proxies is told in their words.
    told = {(problem.code, problem.key, problem.path) for problem in found}
    told |= {("missing-addresses", key, path) for code, key, path in told if code == "server-conflict"}
    return found | {problem for problem in advice if (problem.code, problem.key, problem.path) not in told}


def expiring_certificates(world: World, now: datetime, soon: timedelta) -> set[Problem]:
    """Certificates that are not valid at that time, or will not be for long."""
    found: set[Problem] = set()
    for key, data, path, authorities in _holders(world):
        pair, _ = read_key_pair(data, key, path)
        bundle, _ = read_trust_bundle(data, key, path, authorities)
        for details in _dated(pair, bundle):
            found.update(validity_problems(details, key, path, now, soon))
    return found


def _holders(world: World) -> Iterator[tuple[ObjectKey, Mapping[str, bytes], FieldPath, tuple[str, ...]]]:
    """Objects that hold certificates: their data and its path, and the entries that are CA certificates."""
    for obj in world:
        match obj:
            case Secret():
                yield obj.key, obj.values, ("stringData",) if obj.string_data else ("data",), ("cacert", "ca.crt")
            case ConfigMap():
                data = {name: text.encode() for name, text in obj.data.items()}
                yield obj.key, data, ("data",), ("cacert", "ca.crt")
            case ASMCredential():
                spec = obj.spec
                data = {"cert": bytes(spec.cert), "key": bytes(spec.key), "caCert": bytes(spec.ca_cert)}
                yield obj.key, data, ("spec",), ("caCert",)


def _dated(pair: KeyPair | None, bundle: TrustBundle | None) -> Iterator[CertificateDetails | RevocationDetails]:
    if pair is not None:
        yield from pair.chain
        if pair.staple is not None:
            yield pair.staple
    if bundle is not None:
        yield from bundle.authorities
        yield from bundle.revocation_lists
