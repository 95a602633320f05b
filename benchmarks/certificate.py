"""A certificate for 127.0.0.1 that only the benchmarks trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificate(folder: Path) -> Path:
    """Write a key, its certificate and the certificate of its authority into one file, and return the path."""
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    path = folder / "server.pem"
    path.write_bytes(
        leaf.private_key_pem.bytes()
        + b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        + authority.cert_pem.bytes()
    )
    return path
