"""Fixtures that check that no fault leaves anything behind."""

from __future__ import annotations

import gc
import ssl

import pytest
from support.tls import new_certificate
from support.watching import LoopWatch


@pytest.fixture(autouse=True)
async def watch():
    """Check that a test leaves no task running and no exception unhandled."""
    found = LoopWatch()
    yield found
    await found.check()


@pytest.fixture(scope="session", autouse=True)
def small_heap():
    """Freeze existing objects, so garbage collection looks only at objects of the tests and is cheap."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return TLS contexts for a server and for a client that trusts it."""
    certificate, key = new_certificate(tmp_path_factory.mktemp("tls"))
    for_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for_server.load_cert_chain(certificate, key)
    return for_server, ssl.create_default_context(cafile=certificate)
