"""Fixtures that check that no fault leaves anything behind."""

from __future__ import annotations

import ssl

import pytest
from support.fixtures import small_heap, watch  # noqa: F401  # fixtures
from support.tls import new_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return TLS contexts for a server and for a client that trusts it."""
    certificate, key = new_certificate(tmp_path_factory.mktemp("tls"))
    for_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for_server.load_cert_chain(certificate, key)
    return for_server, ssl.create_default_context(cafile=certificate)
