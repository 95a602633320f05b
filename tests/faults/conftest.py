"""Whatever a fault does, nothing is left behind of it."""

from __future__ import annotations

import gc
import ssl

import pytest
from support.tls import new_certificate
from support.watching import LoopWatch


@pytest.fixture(autouse=True)
async def watch():
    """At the end there is no task but the test's own, and no exception that nobody took."""
    found = LoopWatch()
    yield found
    await found.check()


@pytest.fixture(scope="session", autouse=True)
def small_heap():
    """Collecting garbage looks only at what the tests make, so that every test can afford it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """TLS contexts for a server and for a client that trusts it."""
    certificate, key = new_certificate(tmp_path_factory.mktemp("tls"))
    for_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for_server.load_cert_chain(certificate, key)
    return for_server, ssl.create_default_context(cafile=certificate)
