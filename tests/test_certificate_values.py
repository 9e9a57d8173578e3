"""What is asked of certificates that have been read: whether they are in date, and whom they are for."""

from datetime import UTC, datetime, timedelta

import pytest
from fairlead.certificates import CertificateDetails, RevocationDetails, covers, validity_problems
from fairlead.problems import ObjectKey, Severity

SECRET = ObjectKey("", "Secret", "default", "shop")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def certificate(
    *dns_names: str,
    ip_addresses: tuple[str, ...] = (),
    uris: tuple[str, ...] = (),
    common_name: str | None = "shop.example",
) -> CertificateDetails:
    return CertificateDetails(
        name="tls.crt",
        subject="CN=Shop",
        issuer="CN=Root",
        serial="1",
        not_before=BEGIN,
        not_after=END,
        fingerprint="00",
        common_name=common_name,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        uris=uris,
        key_algorithm="RSA 2048",
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEGIN - SECOND, "certificate-not-yet-valid: certificate CN=Shop is not valid before 2026-01-01 00:00:00 UTC"),
        (BEGIN, None),
        (END - 30 * DAY, None),
        (
            END - 30 * DAY + SECOND,
            "certificate-expires-soon: certificate CN=Shop expires on 2027-01-01 00:00:00 UTC, in 29 days",
        ),
        (END, "certificate-expires-soon: certificate CN=Shop expires on 2027-01-01 00:00:00 UTC, in 0 days"),
        (END + SECOND, "certificate-expired: certificate CN=Shop expired on 2027-01-01 00:00:00 UTC"),
    ],
)
def test_dates_of_certificates(now: datetime, expected: str | None) -> None:
    problems = validity_problems(certificate(), SECRET, ("data",), now)
    assert [f"{problem.code}: {problem.message}" for problem in problems] == ([expected] if expected else [])
    for problem in problems:
        assert (problem.severity, problem.key, problem.path) == (Severity.WARNING, SECRET, ("data", "tls.crt"))


@pytest.mark.parametrize(
    ("now", "end", "expected"),
    [
        (BEGIN - SECOND, END, "revocation-not-yet-valid: CRL of CN=Root is not valid before 2026-01-01 00:00:00 UTC"),
        (BEGIN, END, None),
        (END, END, None),
        (END + SECOND, END, "revocation-expired: CRL of CN=Root is out of date since 2027-01-01 00:00:00 UTC"),
        (END + SECOND, None, None),
    ],
)
def test_dates_of_revocation(now: datetime, end: datetime | None, expected: str | None) -> None:
    details = RevocationDetails("ca.crl", "CRL of CN=Root", BEGIN, end)
    problems = validity_problems(details, SECRET, ("data",), now)
    assert [f"{problem.code}: {problem.message}" for problem in problems] == ([expected] if expected else [])
    assert [problem.path for problem in problems] == ([("data", "ca.crl")] if expected else [])


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (["shop.example"], "shop.example", True),
        (["Shop.Example"], "shop.example.", True),
        (["shop.example"], "www.shop.example", False),
        (["shop.example"], "example", False),
        (["*.shop.example"], "www.shop.example", True),
        (["*.shop.example"], "WWW.SHOP.EXAMPLE", True),
        (["*.shop.example"], "shop.example", False),
        (["*.shop.example"], "a.b.shop.example", False),
        (["*.shop.example"], "*.shop.example", True),
        (["*.shop.example"], "*.example", False),
        (["www.shop.example"], "*.shop.example", False),
        (["w*.shop.example"], "www.shop.example", False),
        (["other.example", "shop.example"], "shop.example", True),
        (["shop.example"], "*", False),
        (["*"], "shop", False),
        (["10.0.0.7"], "10.0.0.7", False),
    ],
)
def test_hosts_of_dns_names(names: list[str], host: str, expected: bool) -> None:
    assert covers(certificate(*names), host) is expected


@pytest.mark.parametrize(
    ("details", "host", "expected"),
    [
        (certificate(ip_addresses=("10.0.0.7",)), "10.0.0.7", True),
        (certificate(ip_addresses=("10.0.0.7",)), "10.0.0.8", False),
        (certificate(ip_addresses=("fd00::7",)), "fd00:0:0::7", True),
        (certificate(ip_addresses=("10.0.0.7",)), "shop.example", False),
        (certificate("www.example"), "shop.example", False),
        (certificate(uris=("spiffe://td/ns/a/sa/b",)), "shop.example", False),
        (certificate(), "shop.example", True),
        (certificate(common_name="*.example"), "shop.example", True),
        (certificate(common_name="10.0.0.7"), "10.0.0.7", True),
        (certificate(common_name=None), "shop.example", False),
    ],
)
def test_hosts_of_other_names(details: CertificateDetails, host: str, expected: bool) -> None:
    assert covers(details, host) is expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (certificate(), True),
        (certificate(common_name=None), False),
        (certificate("shop.example"), False),
        (certificate(ip_addresses=("10.0.0.7",)), False),
        (certificate(uris=("spiffe://td/ns/a/sa/b",)), False),
    ],
)
def test_relies_on_common_name(details: CertificateDetails, expected: bool) -> None:
    assert details.relies_on_common_name is expected
