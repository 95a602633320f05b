"""No key, no header and no text gets into an event, a line of a log or a span, whatever the server repeats."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import KEY

from asyncembed import AsyncEmbedError, RetryPolicy
from asyncembed._preview import MAX_PREVIEW, redact_inputs
from asyncembed.testing import faults, right

PRIVATE = 'A private "letter"\nto nobody — ' + " ".join(string.ascii_letters) + " and so on."
HEADER = "a-tenant-of-ours"


def tell(status, document):
    async def reply(exchange):
        await exchange.say(json.dumps(document, ensure_ascii=status % 2 == 0).encode(), status)

    return reply


ECHOES = {
    "message": faults.Refused(400, f"cannot embed {PRIVATE!s} for {KEY}"),
    "message in quotes": faults.Refused(422, f"cannot embed {json.dumps(PRIVATE)}"),
    "twice": faults.Refused(400, f"{PRIVATE} {PRIVATE}"),
    "request as it came": tell(400, {"request": {"input": [PRIVATE]}, "headers": {"Authorization": f"Bearer {KEY}"}}),
    "the same without ASCII alone": tell(413, {"input": [PRIVATE], "tenant": HEADER}),
    "of the whole run": faults.Refused(401, f"{KEY} may not embed {PRIVATE}"),
    "that is retried": faults.Refused(503, f"no time for {PRIVATE}"),
    "that asks for a pause": faults.Refused(429, f"{PRIVATE}. Please try again in 1ms."),
    "inside of an answer": tell(200, {"error": {"message": f"{PRIVATE} {KEY} {HEADER}"}}),
}
HOW = [("raise", logging.DEBUG), ("raise", logging.INFO), ("yield", logging.DEBUG), ("skip", logging.WARNING)]


def leaks(said):
    """What of the secrets is in something that was said; of a text, more than its start."""
    forms = [PRIVATE, json.dumps(PRIVATE)[1:-1], json.dumps(PRIVATE, ensure_ascii=False)[1:-1], repr(PRIVATE)[1:-1]]
    starts = [form[: MAX_PREVIEW + 2] for form in forms]
    return [secret for secret in (KEY, HEADER, "x y z", *starts) if secret in said]


@pytest.mark.parametrize(("on_error", "level"), HOW)
@pytest.mark.parametrize("place", ECHOES)
async def test_servers_that_repeat_everything(server, connect, told, caplog, place, on_error, level):
    """At each level of the log, as what is known of a request must not depend on who listens."""
    caplog.set_level(level, logger="asyncembed")

    async def reply(exchange):
        await (ECHOES[place] if PRIVATE in exchange.request.texts else right)(exchange)

    server.default = reply
    hook = told if level == logging.DEBUG else None
    retry = RetryPolicy(max_attempts=2, initial_backoff=0.001)
    client = connect(on_event=hook, headers={"X-Tenant-Key": HEADER}, retry=retry)
    with suppress(AsyncEmbedError):
        async for _ in client.embed_stream([PRIVATE, "b"], on_error=on_error):
            pass
    said = [repr(event) for event in told]
    said += [repr(dataclasses.asdict(event)) for event in told]
    said += [pickle.dumps(event).decode("latin-1") for event in told]
    said += [f"{record.getMessage()} {vars(record)}" for record in caplog.records if record.name == "asyncembed"]
    assert said or place == "of the whole run"
    assert len(told) >= 3 or not hook
    for line in said:
        assert not leaks(line), line


def test_that_search_finds_what_it_looks_for():
    assert leaks(PRIVATE)
    assert leaks(f"Authorization: {KEY}")
    assert leaks(json.dumps({"input": PRIVATE}))
    assert not leaks(PRIVATE[:MAX_PREVIEW])


WORDS = st.text(max_size=60)
LONG = st.text(min_size=MAX_PREVIEW + 1, max_size=300)


@given(WORDS, LONG, WORDS, st.sampled_from([lambda text: text, json.dumps]))
def test_a_text_is_cut_wherever_it_stands(before, text, after, form):
    written = form(text)
    said = redact_inputs(before + written + after, [text])
    assert written not in said
    assert len(said) <= len(before + written + after)


@given(LONG)
def test_its_start_is_left(text):
    assert redact_inputs(f"<{text}>", [text]) == f"<{text[:MAX_PREVIEW]}…>"


@given(st.lists(st.text(max_size=MAX_PREVIEW)), WORDS)
def test_short_texts_are_no_matter(texts, message):
    assert redact_inputs(message, texts) == message


def test_what_the_message_lacks_of_the_text_is_no_matter():
    """Messages are cut themselves."""
    text = "abcdefghij" * 100
    assert redact_inputs(f"no: {text[:480]}", [text]) == f"no: {text[:40]}…"
    assert redact_inputs(f"no: {text[:60]}! {text[:30]}", [text]) == f"no: {text[:40]}…! {text[:30]}"


def test_a_text_that_looks_as_if_it_were_cut():
    text = "x" * MAX_PREVIEW + "…" * 10
    assert redact_inputs(text, [text]) == "x" * MAX_PREVIEW + "…"
