"""Every fault that a server or a network can produce, and what is to come of it: the table behind the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args, get_type_hints

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    EmbedTimeoutError,
    InvalidInputError,
    QuotaExceededError,
    RateLimitError,
    ResponseError,
    ServerError,
    TransportError,
)
from asyncembed.testing import faults, right
from support.fault_rows import ALONE, Stepwise, again, always, midway, once, poisoned, too_large, too_slow, twice
from support.matrix import ATTEMPTS, BASE64, BY_ORDER, CHUNK, FLOATS, IMPATIENT, INDEXED, Row
from support.outcomes import Arrives, Ends

if TYPE_CHECKING:
    from collections.abc import Mapping


VALUES = get_args(get_type_hints(faults.WrongVector)["what"])
HINTS = get_args(get_type_hints(faults.TooManyRequests)["hint"])
WORDS = get_args(get_args(get_type_hints(faults.TooLarge)["words"])[0])
NO_JSON = ("nan", "infinite")
PIECES = {"chunk_bytes": 100, "framing": "chunked"}

NO_FAULT = {
    "nothing": Row(Arrives(extra=0)),
    "pretty JSON": Row(Arrives(extra=0), server={"pretty": True}),
    "keys reversed": Row(Arrives(extra=0), server={"key_order": "reversed"}),
    "keys and items shuffled": Row(Arrives(extra=0), server={"key_order": "shuffled", "item_order": "shuffled"}),
    "a byte at a time": Row(Arrives(extra=0), server={"chunk_bytes": 1, "framing": "chunked"}),
    "gzip in pieces": Row(Arrives(extra=0), server={"chunk_bytes": 7, "gzip": True}),
    "end of body by end of connection": Row(Arrives(extra=0), server={"framing": "close"}),
    "drip": once(faults.Drip(seconds=0.001, size=400), extra=0),
    "items shuffled": once(faults.Shuffled(), extra=0),
    "slow TLS": Row(Arrives(extra=0), over_tls=True, server={"tls_delay": 0.02}),
}

CONNECTIONS = {
    "refused": once(faults.Refuse(), unseen=1),
    "refused politely": once(faults.Refuse(reset=False), unseen=1),
    "refused always": always(faults.Refuse(), TransportError),
    "reset in the head": once(faults.ResetInHead()),
    "reset in the head always": always(faults.ResetInHead(), TransportError),
    "no answer": too_slow(faults.NoAnswer(), client={"timeouts": IMPATIENT}),
    "no answer always": Row(
        Ends(EmbedTimeoutError, ATTEMPTS), always=faults.NoAnswer(), client={"timeouts": IMPATIENT}
    ),
    "TLS later than the limit": always(
        right,
        EmbedTimeoutError,
        over_tls=True,
        unseen=ATTEMPTS,
        server={"tls_delay": 5},
        client={**ALONE, "timeouts": IMPATIENT},
    ),
    "TLS that is not trusted": Row(Ends(TransportError), over_tls=False, unseen=1, client=ALONE),
}

BREAKS = {
    "reset before a vector": once(faults.Reset(after=0, part=0)),
    **{f"reset after {count}, in pieces": once(faults.Reset(after=count), server=PIECES) for count in (1, 2, 3)},
    "reset after the last vector": once(faults.Reset(after=CHUNK), extra=0, server=PIECES),
    "reset while the client is busy": once(Stepwise(3, reset=True), busy=True),
    "cut off while the client is busy": once(Stepwise(3, reset=False), busy=True),
    **{
        f"{name} after {count}": once(fault(after=count))
        for name, fault in [("cut off", faults.CutOff), ("cut, length right", faults.Truncated)]
        for count in range(CHUNK)
    },
    "cut off in a vector, a byte at a time": once(faults.CutOff(after=2), server={"chunk_bytes": 1}),
    "cut off in a last chunk": once(faults.CutOff(after=2), server=PIECES),
    "cut off in gzip": once(faults.CutOff(after=2), server={"gzip": True}),
    "cut off after the last vector": once(faults.CutOff(after=CHUNK, part=0.5), extra=0),
    "cut after the last vector, length right": once(faults.Truncated(after=CHUNK, part=0.5), extra=0),
    "cut in an echoed text, keys reversed": once(
        faults.Truncated(after=CHUNK, part=0.7), extra=0, server={"key_order": "reversed", "chunk_bytes": 1}
    ),
    "cut off, usage first": once(faults.CutOff(after=2), server={"key_order": "reversed"}),
    "cut off, items shuffled": once(faults.CutOff(after=2), server={"item_order": "shuffled"}),
    "cut off twice": twice(faults.CutOff(after=1), faults.CutOff(after=1)),
    "cut off, then garbage": twice(faults.CutOff(after=2), faults.Garbage(after=1)),
    "cut off always": always(faults.CutOff(after=0), TransportError),
    "stalls": once(faults.Stall(after=2), client={"timeouts": IMPATIENT}),
    "stalls before a vector always": always(faults.Stall(after=0), EmbedTimeoutError, client={"timeouts": IMPATIENT}),
    "stalls after the last vector": once(faults.Stall(after=CHUNK), extra=0, client={"timeouts": IMPATIENT}),
    **{f"garbage after {count}": once(faults.Garbage(after=count)) for count in range(CHUNK)},
    "garbage after the last vector": once(faults.Garbage(after=CHUNK), extra=0),
    "bytes that are no text": once(faults.Garbage(after=2, garbage=b'"\xff\xc3"')),
    "garbage always": always(faults.Garbage(after=0), ResponseError),
}

CONTENTS = {
    **{f"vector: {what}": once(faults.WrongVector(what, at=1)) for what in VALUES if what not in NO_JSON},
    **{f"vector: {what} in base64": once(faults.WrongVector(what, at=1), wires=BASE64) for what in NO_JSON},
    **{f"vector: {what} in JSON": once(faults.WrongVector(what, at=1), wires=FLOATS) for what in NO_JSON},
    **{
        f"vector: {what}, the very first": once(faults.WrongVector(what, at=0), client=ALONE)
        for what in ("short", "long")
    },
    "vector: null inside always": always(faults.WrongVector("null-inside"), ResponseError, options={"chunk_size": 1}),
    "a vector missing, with index": once(faults.WrongCount(-1), wires=INDEXED),
    "a vector missing, by order": midway(faults.WrongCount(-1), ResponseError, wires=BY_ORDER),
    "a vector too many": Row(Ends(ResponseError, names_texts=False), always=faults.WrongCount(1), client=ALONE),
    "many vectors too many": Row(Ends(ResponseError, names_texts=False), always=faults.WrongCount(100), client=ALONE),
    "index doubled": midway(faults.WrongIndex("doubled", at=2), ResponseError, wires=INDEXED),
    "index out of range": midway(faults.WrongIndex("out-of-range", at=2), ResponseError, wires=INDEXED),
    "index negative": midway(faults.WrongIndex("negative", at=2), ResponseError, wires=INDEXED),
    "index no number": once(faults.WrongIndex("text", at=2), wires=INDEXED),
    "index missing": Row(Arrives(1, at_most=True), script=(faults.WrongIndex("missing", at=2),), wires=INDEXED),
    "index missing, others not in order": once(
        faults.WrongIndex("missing", at=2),
        wires=INDEXED,
        server={"item_order": "reversed"},
    ),
    "other dimension once": Row(Arrives(), script=(right, faults.OtherDimension()), client=ALONE),
    "other dimension from then on": Row(
        Ends(ResponseError, ATTEMPTS), script=(right,), always=faults.OtherDimension(), client=ALONE
    ),
    "base64 ignored": once(faults.WrongBase64("floats"), extra=0, wires=BASE64),
    "base64 of float64": once(faults.WrongBase64("float64"), extra=0, wires=BASE64),
    "base64 not padded": once(faults.WrongBase64("padding"), wires=BASE64),
    "base64 of other letters": once(faults.WrongBase64("letters"), wires=BASE64),
    "error with status 200": once(faults.ErrorInside()),
    "error with status 200 always": always(faults.ErrorInside(), ResponseError),
}

FLOODS = {
    "1 GB body": once(faults.HugeBody(), extra=0),
    "1 GB of gzip": once(faults.GzipBomb()),
    "1 GB of gzip always": always(faults.GzipBomb(), ResponseError, client=ALONE),
    "10 MB header": once(faults.HugeHeader()),
    "10 MB header always": always(faults.HugeHeader(), TransportError, client=ALONE),
}

REFUSALS = {
    "HTML 502": once(faults.Html()),
    "HTML 502 always": always(faults.Html(), ServerError),
    **{f"{status}": once(faults.Refused(status)) for status in (408, 409, 425, 500, 502, 503, 529)},
    "504": too_slow(faults.Refused(504)),
    "500 always": always(faults.Refused(500), ServerError),
    **{f"{status}": midway(faults.Refused(status), ServerError) for status in (501, 505)},
    **{f"429: {hint}": once(faults.TooManyRequests(hint, wait=0.001)) for hint in HINTS},
    "429 always": always(faults.TooManyRequests(), RateLimitError),
    "429: a day always": Row(Ends(RateLimitError, 2), always=faults.TooManyRequests("bogus")),
    "429: quota used up": midway(faults.QuotaUsedUp(), QuotaExceededError),
    "401 midway": again(faults.Refused(401), AuthenticationError),
    "402 midway": midway(faults.Refused(402), QuotaExceededError),
    "403 midway": midway(faults.Refused(403), AuthenticationError),
    "404 midway": again(faults.Refused(404), APIStatusError),
    "redirect": midway(faults.Redirect("http://localhost:9/v1/embeddings"), APIStatusError),
}

SPLITTING = {
    **{f"too many texts: {words}": too_large(words, items=2) for words in ("its own words", *WORDS)},
    **{f"too many tokens: {words}": too_large(words, tokens=60) for words in ("its own words", *WORDS)},
    "too many bytes: its own words": too_large("its own words", bytes=400),
    "too many bytes: proxy": too_large("proxy", bytes=400),
    **{
        f"one bad text, {status}: {on_error}": poisoned(on_error, status=status)
        for status in (400, 422)
        for on_error in ("raise", "yield", "skip")
    },
    "one bad text that is named: yield": poisoned("yield", names_it=True),
    "413 that no splitting cures": Row(
        Ends(InvalidInputError), always=faults.Refused(413), client=ALONE, options={"chunk_size": 1}
    ),
}

ROWS: Mapping[str, Row] = {**NO_FAULT, **CONNECTIONS, **BREAKS, **CONTENTS, **FLOODS, **REFUSALS, **SPLITTING}
