"""Who the members of a sum are: by keys that `privet keys new` made, not by the server's word.

Each member signs the public keys of its round with its node key (ECDSA on P-384 with SHA-384, FIPS
186-5), bound to the sum's terms; the others verify with the public keys that their owners have in a
folder. Whoever is not in it is nobody, so that a server can neither invent members nor stand
between two of them. A device without a roster believes the server on both: a simulation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    load_ssh_private_key,
    load_ssh_public_key,
)

from privacy.errors import KeysError, SecureSumFailed
from privacy.foreign import read_foreign
from privacy.sums.boxes import SIGNATURE_BYTES
from privacy.sums.terms import FEWEST, Terms

HALF_BYTES = SIGNATURE_BYTES // 2  # a number modulo P-384's order
MOST_FILE_BYTES = 1 << 14
NAME = re.compile(r"node-(0|[1-9]\d{0,8})\.pub")
HASH = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True)
class Roster:
    """The members that a device's owner knows.

    Attributes:
        members: public node key of each, by client number; the device itself is one.
        own: its private node key.
        fewest: members whose sum may be told.
    """

    members: Mapping[int, ec.EllipticCurvePublicKey]
    own: ec.EllipticCurvePrivateKey
    fewest: int = FEWEST

    def require_known(self, terms: Terms) -> None:
        """Refuse a sum of strangers, or of too few.

        Raises:
            SecureSumFailed: says who or how many.
        """
        if strangers := sorted(set(terms.members) - set(self.members)):
            raise SecureSumFailed(f"clients {strangers[:5]} are not on this device's roster")
        if terms.survivors < self.fewest:
            raise SecureSumFailed(
                f"a sum of {terms.survivors} members; this device's owner wants {self.fewest} "
                "(fewest-members)"
            )

    def sign(self, terms: Terms, me: int, publics: bytes) -> bytes:
        """A signature of this device's public keys for one sum."""
        r, s = decode_dss_signature(self.own.sign(_claim(terms, me, publics), HASH))
        return r.to_bytes(HALF_BYTES, "big") + s.to_bytes(HALF_BYTES, "big")

    def vouches_for(self, terms: Terms, member: int, publics: bytes, signature: bytes) -> bool:
        """Are these the public keys of that very member, for this sum?"""
        if member not in self.members or len(signature) != SIGNATURE_BYTES:
            return False
        r, s = (
            int.from_bytes(half, "big") for half in (signature[:HALF_BYTES], signature[HALF_BYTES:])
        )
        try:
            self.members[member].verify(
                encode_dss_signature(r, s), _claim(terms, member, publics), HASH
            )
        except InvalidSignature:
            return False
        return True


def read_roster(folder: Path, key: Path, client: int, fewest: int = FEWEST) -> Roster:
    """The roster in a folder of `node-N.pub`, N the client's number, as `privet keys new` makes it.

    Args:
        key: the device's own private node key.
        client: its number.
        fewest: members whose sum may be told.

    Raises:
        KeysError: names the file that is missing, is no P-384 key, or is not this device's.
    """
    members = {}
    try:
        paths = [path for path in sorted(folder.iterdir()) if NAME.fullmatch(path.name)]
    except OSError as error:
        raise KeysError(f"{folder}: cannot be read: {error.strerror}") from None
    for path in paths:
        number = int(path.name.removeprefix("node-").removesuffix(".pub"))
        members[number] = read_public(path)
    own = _private(key)
    if client not in members or members[client] != own.public_key():
        raise KeysError(
            f"{folder}/node-{client}.pub: is not the public half of {key}; the folder must have "
            "the public keys of all members, this device's too"
        )
    if len({public.public_numbers() for public in members.values()}) != len(members):
        raise KeysError(f"{folder}: one key stands for two members")
    if not FEWEST <= fewest <= len(members):
        raise KeysError(
            f"{folder}: {len(members)} members, and a sum of {fewest} is asked for: at least "
            f"{FEWEST}, and no more than there are"
        )
    return Roster(members, own, fewest)


def read_public(path: Path) -> ec.EllipticCurvePublicKey:
    """A node's public key.

    Raises:
        KeysError: the file is missing, or no P-384 key.
    """
    try:
        found = load_ssh_public_key(_content(path))
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if isinstance(found, ec.EllipticCurvePublicKey) and isinstance(found.curve, ec.SECP384R1):
        return found
    raise KeysError(f"{path}: not a P-384 public key in OpenSSH's format")


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        found = load_ssh_private_key(_content(path), None)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if isinstance(found, ec.EllipticCurvePrivateKey) and isinstance(found.curve, ec.SECP384R1):
        return found
    raise KeysError(f"{path}: not a P-384 private key in OpenSSH's format")


def _content(path: Path) -> bytes:
    try:
        return read_foreign(path, MOST_FILE_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        raise KeysError(f"{path}: not there; privet keys new makes node keys") from None
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror}") from None


def _claim(terms: Terms, member: int, publics: bytes) -> bytes:
    return b"privet round keys" + terms.digest + member.to_bytes(8, "big") + publics
