"""An embedding server for tests. It answers correctly unless you script a fault.

    from asyncembed import EmbedClient
    from asyncembed.testing import FakeServer, faults, vector_of

    async def test_a_broken_answer_costs_only_what_is_missing():
        async with FakeServer(dimension=16, chunk_bytes=100) as server:
            server.script += [faults.CutOff(after=2)]
            async with EmbedClient("cohere", base_url=server.url, api_key="any") as client:
                response = await client.embed(["a", "b", "c"])
        assert (response.embeddings[2] == vector_of("c", 16)).all()
        assert server.ledger.asked == {"a": 1, "b": 1, "c": 2}

* **Correct answers.** Give `server.url` to a Cohere client (v1 or v2) and `server.url + "/v1"` to an OpenAI client; any
  HTTP client works. The vector of a text is `vector_of(text, dimension)`. Options of `FakeServer` set how answers are
  written and sent: framing, compression, chunk size, order of keys and items, latency, a rate `Limit`, `Workers`.
* **Faults.** `faults` has values such as `faults.Reset(after=3)`. `server.script` holds the replies to the next
  requests, `server.rules` those for every request that they apply to, and `server.default` the reply to all others. A
  `Chaos` as the default draws random faults, and the same seed repeats them. Your own reply is a coroutine function
  that takes an `Exchange`.
* **Errors of real services.** `faults.ServiceError(service="gemini", meaning="key")` refuses requests with the status
  and the body of that service. `faults.KNOWN_ERRORS` lists about 400 `KnownError`s of 60 services, servers and
  gateways: a wrong key, model or option, an exhausted quota, a text or a request that is too large, and more.
* **Ledger.** `server.ledger` records every request, the vectors sent in full, the tokens charged and the tokens
  reported to the client.
* **pytest.** `pytest_plugins = ["asyncembed.testing.pytest_plugin"]` in the topmost `conftest.py` adds the fixture
  `embedding_server`: a `FakeServer` in its own thread, for sync and async tests.
"""

from __future__ import annotations

from asyncembed._public import publish
from asyncembed.testing import faults
from asyncembed.testing._answers import Answer, Body, Item, Mark, Order, Style
from asyncembed.testing._chaos import Chaos
from asyncembed.testing._exchange import Exchange, Reply, right
from asyncembed.testing._ledger import Entry, Ledger
from asyncembed.testing._limit import Limit
from asyncembed.testing._request import Framing, Request
from asyncembed.testing._server import FakeServer, Rule
from asyncembed.testing._vectors import tokens_of, vector_of
from asyncembed.testing._workers import Workers
from asyncembed.testing.faults._known import KnownError

__all__ = [  # noqa: RUF022  # grouped by purpose
    # The server
    "FakeServer",
    "Limit",
    "Workers",
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

publish(__name__, [globals()[name] for name in __all__])
