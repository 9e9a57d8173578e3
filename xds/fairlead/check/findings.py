"""All that is wrong with the objects of a world, for the proxies that its Gateways and Sidecars are meant for."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from fairlead import translation
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
from fairlead.check import exposure, hosts, routes, services
from fairlead.check.suppression import unknown_suppressions
from fairlead.models.core import Secret
from fairlead.problems import Problem
from fairlead.resolve.selection import everybody_implied, selection, selection_problems
from fairlead.world import World


def findings(world: World, now: datetime, soon: timedelta = EXPIRES_SOON) -> set[Problem]:
    """Problems without places: of the objects by themselves, of what they refer to, of certificates at that time.

    A certificate that ends within `soon` is one of them.
    """
    found = set(translation.review_problems(world))
    advice = {*routes.problems(world), *services.problems(world), *unknown_suppressions(world)}
    for proxy in everybody_implied(world):
        found.update(selection_problems(world, proxy))
        selected = selection(world, proxy)
        found |= translation.problems(world, selected, proxy.locality)
        advice.update(hosts.problems(world, selected), exposure.problems(world, proxy, selected))
        advice.update(routes.shadows(world, selected))
    advice |= expiring_certificates(world, now, soon)
    # What is also told of proxies is told in their words.
    told = {(problem.code, problem.key, problem.path) for problem in found}
    told |= {("missing-addresses", key, path) for code, key, path in told if code == "server-conflict"}
    return found | {problem for problem in advice if (problem.code, problem.key, problem.path) not in told}


def expiring_certificates(world: World, now: datetime, soon: timedelta) -> set[Problem]:
    """Certificates in Secrets that are not valid at that time, or will not be for long."""
    found: set[Problem] = set()
    secrets = world.objects(Secret)
    for name in secrets.keys():  # noqa: SIM118  # no dict
        secret = secrets.get(name)
        if secret is not None:
            path = ("stringData",) if secret.string_data else ("data",)
            pair, _ = read_key_pair(secret.values, secret.key, path)
            bundle, _ = read_trust_bundle(secret.values, secret.key, path)
            for details in _dated(pair, bundle):
                found.update(validity_problems(details, secret.key, path, now, soon))
    return found


def _dated(pair: KeyPair | None, bundle: TrustBundle | None) -> Iterator[CertificateDetails | RevocationDetails]:
    if pair is not None:
        yield from pair.chain
        if pair.staple is not None:
            yield pair.staple
    if bundle is not None:
        yield from bundle.authorities
        yield from bundle.revocation_lists
