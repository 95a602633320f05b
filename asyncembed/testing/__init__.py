"""An embedding server for tests: right by itself, and wrong exactly where a test says so.

    from asyncembed import EmbedClient
    from asyncembed.testing import FakeServer, faults, vector_of

    async def test_a_broken_answer_costs_only_what_is_missing():
        async with FakeServer(dimension=16, chunk_bytes=100) as server:
            server.script += [faults.CutOff(after=2)]
            async with EmbedClient("cohere", base_url=server.url, api_key="any") as client:
                response = await client.embed(["a", "b", "c"])
        assert (response.embeddings[2] == vector_of("c", 16)).all()
        assert server.ledger.asked == {"a": 1, "b": 1, "c": 2}

* **Right answers.** `server.url` is for clients of Cohere (v1 and v2), `server.url + "/v1"` for those of OpenAI; any
  HTTP client will do. The vectors are those of `vector_of(text, dimension)`. How they are written and sent is up to
  the options of `FakeServer`: framing, compression, size of chunks, order of keys and items, latency, a rate `Limit`.
* **Faults.** `faults` has values such as `faults.Reset(after=3)`. `server.script` holds replies to the next requests,
  `server.rules` those to every request they apply to, and `server.default` the reply to all others: put a `Chaos`
  there for faults at random that a seed brings back. A reply of one's own is a coroutine function of an `Exchange`.
* **Errors of real services.** `faults.ServiceError(service="gemini", meaning="key")` refuses requests with the status
  and the body of that service. A wrong key, model or option, a used-up quota, an over-long text, a request that is too
  large and more are in `faults.KNOWN_ERRORS`, a table of about 400 `KnownError`s of 60 services, servers and gateways.
* **Books.** `server.ledger` knows who asked for what, what was charged for and told, and what was sent in full.
* **pytest.** `pytest_plugins = ["asyncembed.testing.pytest_plugin"]` in the topmost `conftest.py` brings a fixture
  `embedding_server`: a `FakeServer` in a thread of its own, for sync and async tests of any kind.
"""

from __future__ import annotations

from asyncembed.testing import faults
from asyncembed.testing._answers import Answer, Body, Item, Mark, Order, Style
from asyncembed.testing._chaos import Chaos
from asyncembed.testing._exchange import Exchange, Reply, right
from asyncembed.testing._ledger import Entry, Ledger
from asyncembed.testing._limit import Limit
from asyncembed.testing._request import Framing, Request
from asyncembed.testing._server import FakeServer, Rule
from asyncembed.testing._vectors import tokens_of, vector_of
from asyncembed.testing.faults._known import KnownError

__all__ = [  # noqa: RUF022  # grouped as people look for them
    # The server
    "FakeServer",
    "Limit",
    "tokens_of",
    "vector_of",
    # What goes wrong
    "Chaos",
    "KnownError",
    "faults",
    # What was asked and sent
    "Entry",
    "Ledger",
    # To write a reply
    "Answer",
    "Body",
    "Exchange",
    "Framing",
    "Item",
    "Mark",
    "Order",
    "Reply",
    "Request",
    "Rule",
    "Style",
    "right",
]
