"""A private authority for a federation: who the server is (TLS), and who the nodes are.

It is for tests and for small federations that have no authority of their own. Keys are P-384;
certificates X.509 v3 (RFC 5280); node keys in OpenSSH's format, which Flower reads.
"""

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy.errors import KeysError

VALID_DAYS = 365

PrivateKey = ec.EllipticCurvePrivateKey
HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([\w-]*)(\.[A-Za-z0-9_][\w-]*)*\.?", re.ASCII)
MOST_HOST = 253  # characters (RFC 1035)


def make_authority(folder: Path, hosts: Sequence[str], num_nodes: int) -> list[Path]:
    """Make an authority, a server certificate that it signed, and a key pair for each node.

    Args:
        folder: made with mode 0700, as are the folders in it: one for each machine, with all that
            it needs, and nothing else's secrets. Private keys have mode 0600. The authority's own,
            `authority.key`, is for no machine; `members`, the nodes' public keys, is for every
            owner, so that the members of a sum know each other (privacy.sums.roster).
        hosts: names and IP addresses under which nodes reach the server.

    Returns:
        The folders `server`, `node-0`, `node-1`, ...

    Raises:
        KeysError: a host is none, or the folder has keys already, or cannot be written to.
    """
    root, server = _new_key(), _new_key()
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "privet test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    authority = (
        _certificate(issuer, issuer, root)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(root, hashes.SHA384())
    )
    names = x509.SubjectAlternativeName([_name(host) for host in hosts])
    certificate = (
        _certificate(subject, issuer, server)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
        .sign(root, hashes.SHA384())
    )
    public = authority.public_bytes(Encoding.PEM)
    files: dict[str, bytes] = {
        "authority.key": _private(root, PrivateFormat.PKCS8),
        "server/authority.pem": public,
        "server/server.pem": certificate.public_bytes(Encoding.PEM),
        "server/server.key": _private(server, PrivateFormat.PKCS8),
    }
    for number in range(num_nodes):
        key = _new_key()
        public_key = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        files[f"server/node-{number}.pub"] = public_key
        files[f"members/node-{number}.pub"] = public_key
        files[f"node-{number}/authority.pem"] = public
        files[f"node-{number}/node.key"] = _private(key, PrivateFormat.OpenSSH)
    try:
        for name, content in files.items():
            path = folder / name
            for parent in (folder, path.parent):
                parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = 0o600 if name.endswith(".key") else 0o644
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except FileExistsError as error:
        raise KeysError(f"{error.filename}: exists; name another folder") from None
    except OSError as error:
        raise KeysError(f"{folder}: cannot be written: {error.strerror}") from None
    return [folder / "server", *(folder / f"node-{number}" for number in range(num_nodes))]


def _new_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def _private(key: PrivateKey, kind: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, kind, NoEncryption())


def _certificate(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(identifier, critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if len(host) > MOST_HOST or not HOST.fullmatch(host):
            raise KeysError(
                f"{host[:MOST_HOST]!a}: not the name or address of a machine: letters, digits, "
                "dashes and dots (of other letters, its xn-- form)"
            ) from None
        return x509.DNSName(host)
