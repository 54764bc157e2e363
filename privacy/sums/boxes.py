"""Messages between members of a sum, which the server passes on and can neither read nor alter.

X25519 gives two members a secret; HKDF-SHA256 makes of it a key for one message, bound to the
sum's terms, its sender and its holder; AES-GCM seals it.
"""

import hmac
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.errors import SecureSumFailed
from privacy.sums.terms import Terms

KEY_BYTES, TAG_BYTES, SIGNATURE_BYTES = 32, 16, 96
ZERO_NONCE = bytes(12)  # each key seals one message


def seal_box(terms: Terms, agreed: bytes, sender: int, holder: int, content: bytes) -> bytes:
    """Content that only `holder` can read, and knows to be from `sender`.

    Args:
        agreed: what the two share, from `exchange`.
    """
    key, about = _key(terms, agreed, sender, holder)
    return AESGCM(key).encrypt(ZERO_NONCE, content, about)


def open_box(
    terms: Terms, agreed: bytes, sender: int, holder: int, box: bytes, size_bytes: int | None = None
) -> bytes:
    """The inverse of `seal_box`.

    Raises:
        SecureSumFailed: altered, replayed from another sum, of another sender or for another.
    """
    key, about = _key(terms, agreed, sender, holder)
    try:
        if size_bytes not in (None, len(box)):
            raise InvalidTag
        return AESGCM(key).decrypt(ZERO_NONCE, box, about)
    except InvalidTag:
        raise SecureSumFailed(
            f"what client {sender} sent to client {holder} was altered, replayed or for another"
        ) from None


def _key(terms: Terms, agreed: bytes, sender: int, holder: int) -> tuple[bytes, bytes]:
    about = b"privet box" + terms.digest + sender.to_bytes(8, "big") + holder.to_bytes(8, "big")
    return expand_key(agreed, about), about


def exchange(mine: X25519PrivateKey, public: bytes) -> bytes:
    """What two members share: X25519, then HKDF-SHA256's extraction (RFC 5869) without salt.

    Raises:
        SecureSumFailed: the public key is not one.
    """
    try:
        secret = mine.exchange(X25519PublicKey.from_public_bytes(public))
        return hmac.digest(bytes(32), secret, "sha256")
    except ValueError as error:
        raise SecureSumFailed(f"not a public key: {error}") from None


def public_of(private: bytes) -> bytes:
    """The public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def expand_key(agreed: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose: HKDF-SHA256's expansion."""
    return hmac.digest(agreed, purpose + b"\x01", "sha256")


def pack_rows(rows: Mapping[int, bytes]) -> bytes:
    """A table of members and values of one size, as bytes: Flower checks a list item by item."""
    return b"".join(member.to_bytes(4, "big") + value for member, value in rows.items())


def pack_list(members: Iterable[int]) -> bytes:
    """Members alone, as a table without values."""
    return pack_rows(dict.fromkeys(sorted(members), b""))


def unpack_rows(table: bytes, size_bytes: int, most: int) -> dict[int, bytes]:
    """The inverse of `pack_rows`, for values of so many bytes.

    Args:
        most: rows; a longer table is not read.

    Raises:
        SecureSumFailed: it is no such table, or names a member twice.
    """
    step = 4 + size_bytes
    if not isinstance(table, bytes) or len(table) % step:
        raise SecureSumFailed(f"not a table of {size_bytes} bytes a member")
    if len(table) > most * step:
        raise SecureSumFailed(f"a table of {len(table) // step} rows, where there are {most}")
    rows = {
        int.from_bytes(table[at : at + 4], "big"): table[at + 4 : at + step]
        for at in range(0, len(table), step)
    }
    if len(rows) * step != len(table):
        raise SecureSumFailed("a table that names a member twice")
    return rows
