"""What a server is told when it is started."""

from pathlib import Path
from typing import Any

import pytest
from fairlead.errors import SettingsError
from fairlead.intent import Endpoint
from fairlead.server.settings import Address, Settings, parse_address, parse_advertised

FILE = Path("file.pem")


@pytest.mark.parametrize(
    ("text", "address", "shown", "loopback"),
    [
        ("127.0.0.1:18000", ("127.0.0.1", 18000), "127.0.0.1:18000", True),
        ("127.9.8.7:0", ("127.9.8.7", 0), "127.9.8.7:0", True),
        ("localhost:1", ("localhost", 1), "localhost:1", True),
        ("[::1]:65535", ("::1", 65535), "[::1]:65535", True),
        ("::1:80", ("::1", 80), "[::1]:80", True),
        ("0.0.0.0:80", ("0.0.0.0", 80), "0.0.0.0:80", False),
        ("[::]:80", ("::", 80), "[::]:80", False),
        ("192.0.2.1:80", ("192.0.2.1", 80), "192.0.2.1:80", False),
        ("[::ffff:127.0.0.1]:80", ("::ffff:7f00:1", 80), "[::ffff:7f00:1]:80", False),
    ],
)
def test_addresses(text: str, address: tuple[str, int], shown: str, loopback: bool) -> None:
    found = parse_address(text, "--x")
    assert found == Address(*address)
    assert found.is_loopback is loopback
    assert str(found) == shown
    assert parse_address(shown, "--x") == found


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "18000", ":18000", "127.0.0.1", "127.0.0.1:", "host:1", "256.0.0.1:1", "unix:/tmp/x:1"),
        *(f"127.0.0.1:{port}" for port in ("65536", "-1", "²", "1e3", " 1", "0" * 5000 + "1")),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_address(text, "--xds-address")
    assert str(caught.value) == f"--xds-address is {text!r}; write IP:PORT, for example 127.0.0.1:18000"


def test_defaults_are_reachable_from_this_host_only() -> None:
    settings = Settings(paths=(Path(),))
    settings.check()
    assert settings.xds_address.is_loopback
    assert settings.admin_address.is_loopback


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("fairlead.example.com:18002", ("fairlead.example.com", 18002)),
        ("fairlead-0:1", ("fairlead-0", 1)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
    ],
)
def test_where_proxies_are_sent(text: str, address: tuple[str, int]) -> None:
    assert parse_advertised(text, "--x") == Address(*address)
    settings = Settings(paths=(), runtime_address=Address("0.0.0.0", 1), runtime_advertised_address=Address(*address))
    settings.check()
    assert settings.runtime_endpoint == Endpoint(*address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "127.0.0.1:0",
        "0.0.0.0:80",
        "256.0.0.1:80",
        "[::]:80",
        "a b:1",
        "-a:1",
        "a.:1",
    ],
)
def test_where_no_proxy_can_be_sent(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--x is .*; write HOST:PORT"):
        parse_advertised(text, "--x")


@pytest.mark.parametrize(
    ("address", "said"),
    [(Address("127.0.0.1", 0), "needs a port"), (Address("::", 80), "give --runtime-advertised-address HOST:PORT")],
)
def test_runtime_addresses_of_which_proxies_cannot_be_told(address: Address, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings(paths=(), runtime_address=address).check()


@pytest.mark.parametrize(
    ("xds", "runtime", "advertised", "is_out_of_reach"),
    [
        ("0.0.0.0", "127.0.0.1", None, True),
        ("0.0.0.0", "127.0.0.1", Address("fairlead.example", 1), False),
        ("0.0.0.0", "192.0.2.1", None, False),
        ("127.0.0.1", "127.0.0.1", None, False),
    ],
)
def test_where_proxies_on_other_hosts_find_nothing(
    xds: str, runtime: str, advertised: Address | None, *, is_out_of_reach: bool
) -> None:
    settings = Settings(
        paths=(),
        xds_address=Address(xds, 1),
        runtime_address=Address(runtime, 2),
        runtime_advertised_address=advertised,
    )
    assert settings.is_runtime_out_of_reach is is_out_of_reach


OFF_HOST = {"xds_address": Address("0.0.0.0", 18000)}
CERTIFICATE = {"tls_certificate": FILE, "tls_key": FILE}


@pytest.mark.parametrize(
    "settings",
    [
        OFF_HOST | {"allow_plaintext_secrets_off_host": True},
        OFF_HOST | CERTIFICATE | {"allow_unidentified_proxies": True},
        OFF_HOST | CERTIFICATE | {"client_authorities": FILE},
        CERTIFICATE,  # on loopback
        CERTIFICATE | {"client_authorities": FILE, "trust_domain": "cluster.local"},
        {"deletion_grace": 0.0},
        {"drain_seconds": 0.0},
        {"admin_address": Address("0.0.0.0", 18001)},  # it tells nothing secret
    ],
)
def test_what_is_accepted(settings: dict[str, Any]) -> None:
    Settings(paths=(Path(),), **settings).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_certificate": FILE}, "--tls-cert and --tls-key belong together"),
        ({"tls_key": FILE}, "--tls-cert and --tls-key belong together"),
        ({"client_authorities": FILE}, "--client-ca needs --tls-cert and --tls-key"),
        (OFF_HOST, "--allow-plaintext-secrets-off-host"),
        ({"xds_address": Address("::", 1)}, "private keys would travel in plaintext"),
        (OFF_HOST | {"allow_unidentified_proxies": True}, "private keys would travel in plaintext"),
        (OFF_HOST | CERTIFICATE, "give --client-ca, or --allow-unidentified-proxies"),
        ({"trust_domain": "cluster.local"}, "--trust-domain needs --client-ca"),
        ({"trust_domain": "spiffe://cluster.local"}, "--trust-domain is 'spiffe://cluster.local'; write what stands"),
        ({"deletion_grace": -0.1}, "--deletion-grace is -0.1; give 0 or more seconds"),
        ({"drain_seconds": -1.0}, "--drain-seconds is -1; give 0 to 3600 seconds"),
        ({"drain_seconds": float("inf")}, "--drain-seconds is inf; give 0 to 3600 seconds"),
        ({"deletion_grace": float("nan")}, "--deletion-grace is nan; give 0 or more seconds"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(paths=(Path(),), **settings).check()
    assert message in str(caught.value)
