"""Make the certificates of the examples anew: Secrets for gateways, PEM files for clients and backends.

They are valid for a hundred years and their keys are public: for trying out only.

    python examples/make_certificates.py
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
END = START + dt.timedelta(days=36_500)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


def issue(common_name: str, hosts: list[str] | None = None, issuer: Issued | None = None) -> Issued:
    """A certificate for hosts, signed by an issuer; without hosts a CA, without issuer self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fairlead examples"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=hosts is None, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
    return Issued(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def secret(name: str, namespace: str, data: dict[str, str], kind: str = "kubernetes.io/tls") -> str:
    """A Secret as YAML."""
    lines = ["apiVersion: v1", "kind: Secret", "metadata:", f"  name: {name}", f"  namespace: {namespace}"]
    lines += [f"type: {kind}", "stringData:"]
    for key, text in data.items():
        lines += [f"  {key}: |", *(f"    {line}" for line in text.splitlines())]
    return "\n".join(lines) + "\n"


def key_pair(issued: Issued, authority: Issued) -> dict[str, str]:
    return {"tls.crt": issued.certificate_pem + authority.certificate_pem, "tls.key": issued.key_pem}


def write(path: str, *documents: str) -> None:
    target = HERE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("---\n".join(documents))


def main() -> None:
    authority = issue("Example CA")
    note = "# For trying out only: these private keys are public. Made by examples/make_certificates.py.\n"

    def served(name: str, namespace: str, *hosts: str) -> str:
        return note + secret(name, namespace, key_pair(issue(hosts[0], list(hosts), authority), authority))

    write(
        "https-gateway/secrets.yaml",
        served("aliyun-wildcard", "istio-system", "*.aliyun.com"),
        served("aliyun-b", "istio-system", "b.aliyun.com"),
    )
    write("gateway-api/secrets.yaml", served("shop-example-com", "default", "shop.example.com"))
    write(
        "mutual-tls/secrets.yaml",
        served("partners", "default", "ledger.example.com", "open.example.com"),
        secret("partners-cacert", "default", {"ca.crt": authority.certificate_pem}, "Opaque"),
    )
    for client, signer in (("alice", authority), ("bob", authority), ("stranger", issue("Some other CA"))):
        issued = issue(client, [f"{client}.partner.example.com"], signer)
        write(f"mutual-tls/clients/{client}.pem", note + issued.certificate_pem + issued.key_pem)
    write("egress/secrets.yaml", secret("api-authorities", "default", {"ca.crt": authority.certificate_pem}, "Opaque"))
    for path, host in (("egress", "api.localhost"), ("tcp-and-passthrough", "vault.example.com")):
        issued = issue(host, [host], authority)
        write(f"{path}/backend.pem", note + issued.certificate_pem + authority.certificate_pem + issued.key_pem)


if __name__ == "__main__":
    main()
