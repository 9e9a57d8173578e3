"""Make the certificates of the examples anew: Secrets for gateways, PEM files for clients and backends.

They are valid for a hundred years and their keys are public: for trying out only.

    python tests/make_example_certificates.py
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from fairlead.certificates.issuing import Issued, issue

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTE = "# For trying out only: these private keys are public.\n"

make = partial(
    issue, start=datetime(2026, 1, 1, tzinfo=UTC), lifetime=timedelta(days=36_500), organization="Fairlead examples"
)


def secret(name: str, namespace: str, data: dict[str, bytes], kind: str = "kubernetes.io/tls") -> str:
    """A Secret as YAML."""
    lines = ["apiVersion: v1", "kind: Secret", "metadata:", f"  name: {name}", f"  namespace: {namespace}"]
    lines += [f"type: {kind}", "stringData:"]
    for key, text in data.items():
        lines += [f"  {key}: |", *(f"    {line}" for line in text.decode().splitlines())]
    return "\n".join(lines) + "\n"


def write(path: str, *documents: str) -> None:
    target = EXAMPLES / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("---\n".join(documents))


def main() -> None:
    authority = make("Example CA")

    def served(name: str, namespace: str, *hosts: str) -> str:
        issued = make(hosts[0], hosts=hosts, issuer=authority)
        chain = issued.certificate_pem + authority.certificate_pem
        return NOTE + secret(name, namespace, {"tls.crt": chain, "tls.key": issued.key_pem.reveal()})

    def pem(issued: Issued, *others: Issued) -> str:
        certificates = b"".join(each.certificate_pem for each in (issued, *others))
        return NOTE + (certificates + issued.key_pem.reveal()).decode()

    write(
        "https-gateway/secrets.yaml",
        served("aliyun-wildcard", "istio-system", "*.aliyun.com"),
        served("aliyun-b", "istio-system", "b.aliyun.com"),
    )
    write(
        "multi-host-tls/secrets.yaml",
        served("httpbin-credential", "istio-system", "httpbin.example.com"),
        served("helloworld-credential", "istio-system", "helloworld.example.com"),
    )
    write("gateway-api/secrets.yaml", served("shop-example-com", "default", "shop.example.com"))
    write(
        "mutual-tls/secrets.yaml",
        served("partners", "default", "ledger.example.com"),
        served("partners-open", "default", "open.example.com"),
        secret("partners-cacert", "default", {"ca.crt": authority.certificate_pem}, "Opaque"),
    )
    for client, signer in (("alice", authority), ("bob", authority), ("stranger", make("Some other CA"))):
        write(
            f"mutual-tls/clients/{client}.pem",
            pem(make(client, hosts=[f"{client}.partner.example.com"], issuer=signer)),
        )
    write("egress/secrets.yaml", secret("api-authorities", "default", {"ca.crt": authority.certificate_pem}, "Opaque"))
    write(
        "egress-tls-origination/secrets.yaml",
        secret("www-example-com", "istio-system", {"ca.crt": authority.certificate_pem}, "Opaque"),
    )
    for path, host in (
        ("egress", "api.localhost"),
        ("egress-tls-origination", "www.example.com"),
        ("tcp-and-passthrough", "vault.example.com"),
    ):
        write(f"{path}/backend.pem", pem(make(host, hosts=[host], issuer=authority), authority))


if __name__ == "__main__":
    main()
