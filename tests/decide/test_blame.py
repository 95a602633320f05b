"""Who is to blame, without I/O: what is done about each failure, given what else is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncembed import (
    APIStatusError,
    AuthenticationError,
    EmbedTimeoutError,
    InvalidInputError,
    ResponseError,
    ServerError,
    TransportError,
)
from asyncembed._decide import Batch, Blame, Step, SubBatch, Verdict, is_refused_likewise
from asyncembed._exceptions import ErrorAnswer

TEXTS = [f"text {number}" for number in range(8)]


def refused(status: int, message: str = "", **facts: object) -> APIStatusError:
    answer = ErrorAnswer(status=status, provider_message=message, is_api_form=True, **facts)
    return APIStatusError(message or str(status), status=status, provider_message=message, answer=answer)


def new_case():
    """What is known of texts that were not asked for yet."""
    return SubBatch(Batch()).case


def decide(error, *, accepted=0, case=None, texts=TEXTS, base64=False, probe=True) -> Verdict:
    blame = Blame((), may_probe=probe)
    for _ in range(accepted):
        blame.succeeded(new_case())
    return blame.decide(error, texts, case or new_case(), wants_base64=base64)


@pytest.mark.parametrize("accepted", [0, 5])
@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("API key not valid. Please pass a valid API key.", "key"),
        ("Invalid model: no-such", "model"),
        ("Access denied, please make sure your account is in good standing.", "quota"),
    ],
)
def test_words_of_the_account_end_the_run_whatever_the_status(message, meaning, accepted):
    assert decide(refused(400, message), accepted=accepted) == Verdict(Step.END, meaning)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("image dimensions 12000x9000 exceed what is allowed", "option"),
        ("unknown field 3 of record", "option"),
        ("cannot decode base64 image", "encoding"),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_words_of_an_option_end_the_run_unless_requests_were_accepted(message, meaning, status):
    """The API may use the same words of a text; then the harmless text is taken."""
    error = refused(status, message)
    assert decide(error) == Verdict(Step.END, meaning)
    assert decide(error, accepted=5, probe=False) == Verdict(Step.END, meaning)
    case = new_case()
    assert decide(error, accepted=5, case=case) == Verdict(Step.PROBE, meaning)
    case.is_proven = True
    assert decide(error, accepted=5, case=case) == Verdict(Step.HALVES, "text")
    assert decide(error, accepted=5, case=case, texts=TEXTS[:1]) == Verdict(Step.GIVE_UP, "text")


@pytest.mark.parametrize("status", [421, 423, 424, 449, 460, 499])
def test_a_failure_behind_the_api_is_transient_whatever_its_class(status):
    assert decide(refused(status, "backend failed"), texts=TEXTS[:1]) == Verdict(Step.AGAIN, "transient")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "upstream connect error or disconnect/reset before headers"),
        (400, "rate limit exceeded, try again later"),
        (403, "Rate Limit Exceeded"),
    ],
)
def test_words_of_a_gateway_are_transient(status, message):
    assert decide(refused(status, message)).step is Step.AGAIN


def test_memory_that_is_full_for_one_text_may_be_free_later():
    error = refused(500, "CUDA out of memory. Tried to allocate 2 GiB")
    assert decide(error, texts=TEXTS[:1]) == Verdict(Step.AGAIN, "transient")
    assert decide(error).step is Step.SMALLER


def test_a_server_that_answers_few_texts_of_each_request_gets_smaller_ones():
    case, error = new_case(), ResponseError("short", missing=(1, 2), is_short=True)
    steps = [decide(error, case=case, texts=["a", "b", "c"]).step for _ in range(3)]
    assert steps == [Step.AGAIN, Step.AGAIN, Step.SMALLER]


@pytest.mark.parametrize("status", [401, 404])
def test_one_replica_is_asked_once_more_amid_good_answers(status):
    error = refused(status, "no such model" if status == 404 else "wrong key")
    assert decide(error).step is Step.END
    case = new_case()
    assert decide(error, accepted=3, case=case).step is Step.AT_ONCE
    assert decide(error, accepted=3, case=case).step is Step.END


@pytest.mark.parametrize("message", ["key revoked", "This API key has been deactivated."])
def test_a_key_that_was_taken_back_ends_the_run_at_once(message):
    assert decide(refused(401, message), accepted=3) == Verdict(Step.END, "key")


def test_a_firewall_may_speak_of_permissions():
    error = refused(403, "permission denied")
    assert decide(error).step is Step.END
    case = new_case()
    assert decide(error, accepted=3, case=case).step is Step.PROBE
    case.is_proven = True  # the harmless text was taken
    assert decide(error, accepted=3, case=case).step is Step.AT_ONCE
    assert decide(error, accepted=3, case=case).step is Step.HALVES
    assert decide(error, accepted=3, probe=False).step is Step.END


def test_what_does_not_tell_is_probed_once():
    case = new_case()
    error = refused(400, "Bad Request")
    assert decide(error, case=case) == Verdict(Step.PROBE)
    case.is_proven = True
    assert decide(error, case=case) == Verdict(Step.HALVES, "text")
    assert decide(error, case=case.of_part(), texts=TEXTS[:1]) == Verdict(Step.GIVE_UP, "text")
    assert decide(error, probe=False) == Verdict(Step.HALVES, "text")


def test_a_text_that_is_named_is_set_apart_once():
    case = new_case()
    error = refused(400, "input[3] is too long", positions=(3,))
    assert decide(error, case=case) == Verdict(Step.APART, "text", (3,))
    assert decide(error, case=case) == Verdict(Step.HALVES, "text")  # the same place again
    assert decide(refused(400, "the input is too long", positions=(9,))).step is Step.HALVES  # no such place


def test_less_is_asked_for_after_a_time_out_and_a_refusal_of_the_size():
    for error, meaning in [
        (EmbedTimeoutError("no response within 1 s"), "time"),
        (refused(504), "time"),
        (refused(413), "size"),
        (refused(400, "too many inputs: at most 4 inputs in one request"), "size"),
    ]:
        assert decide(error) == Verdict(Step.SMALLER, meaning)
    assert decide(EmbedTimeoutError("x"), texts=TEXTS[:1]).step is Step.AGAIN
    assert decide(refused(413), texts=TEXTS[:1]).step is Step.GIVE_UP
    assert decide(EmbedTimeoutError("x", phase="body")) == Verdict(Step.AGAIN, "transient")


def test_base64_is_given_up_for_floats_where_it_was_our_idea():
    for error in [
        refused(400, "encoding_format must be float"),
        refused(400, "Invalid value", fields=("encoding_format",)),
        ResponseError("8 of 8 vectors did not arrive", is_empty=True),
    ]:
        assert decide(error, base64=True) == Verdict(Step.FLOATS, "encoding")
        assert decide(error, base64=False).step is not Step.FLOATS


def test_a_server_error_is_looked_into_when_others_go_well():
    case, blame, error = new_case(), Blame((), may_probe=True), refused(500, "Internal Server Error")
    decide_ = lambda texts=TEXTS: blame.decide(error, texts, case, wants_base64=False).step  # noqa: E731
    assert decide_() is Step.AGAIN
    blame.succeeded(new_case())
    assert decide_() is Step.HALVES
    case = case.of_part()
    assert decide_(TEXTS[:1]) is Step.AGAIN  # a text is asked for once more before it is given up
    assert decide_(TEXTS[:1]) is Step.GIVE_UP


def test_a_server_that_recovers_by_itself_is_not_looked_into():
    blame, error = Blame((), may_probe=True), refused(500)
    flaky = new_case()
    blame.decide(error, TEXTS, flaky, wants_base64=False)
    blame.succeeded(flaky)  # the same texts, a moment later
    case = new_case()
    steps = []
    for _ in range(3):
        steps.append(blame.decide(error, TEXTS, case, wants_base64=False).step)
        blame.succeeded(new_case())
    assert steps == [Step.AGAIN] * 3


@pytest.mark.parametrize("status", [429, 529])
def test_an_overload_blames_nothing(status):
    case = new_case()
    assert {decide(refused(status), accepted=9, case=case).step for _ in range(9)} == {Step.AGAIN}


def test_a_single_text_of_its_own_is_asked_for_as_often_as_the_policy_says():
    case = new_case()
    steps = {decide(refused(500), accepted=number, case=case, texts=TEXTS[:1]).step for number in range(8)}
    assert steps == {Step.AGAIN}


@given(
    st.integers(200, 599),
    st.text(max_size=60),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_failure_has_a_verdict_that_can_be_followed(status, message, count, base64, probe, accepted, proven):
    """Nothing is cut that is one text, and nothing is probed that was, or that may not be."""
    case = new_case()
    case.is_proven = proven
    verdict = decide(
        refused(status, message), accepted=accepted, case=case, texts=TEXTS[:count], base64=base64, probe=probe
    )
    assert isinstance(verdict.step, Step)
    if count == 1:
        assert verdict.step not in {Step.SMALLER, Step.APART, Step.HALVES}
    if proven or not probe:
        assert verdict.step is not Step.PROBE
    if not base64:
        assert verdict.step is not Step.FLOATS


def test_what_is_no_answer_ends_the_run_or_is_tried_again():
    assert decide(TransportError("the connection failed")).step is Step.AGAIN
    assert decide(TransportError("TLS failed", retryable=False)).step is Step.END
    assert decide(ResponseError("the response cannot be matched", retryable=False)).step is Step.END
    assert decide(ResponseError("cut off")).step is Step.AGAIN


def test_an_error_with_status_200_is_read_as_any_other():
    assert decide(ResponseError("x", provider_message="Incorrect API key provided")) == Verdict(Step.END, "key")
    assert decide(ResponseError("x", provider_message="Loading model")) == Verdict(Step.AGAIN, "transient")


@pytest.mark.parametrize(
    ("one", "other", "likewise"),
    [
        (refused(400, "a"), refused(400, "b"), True),
        (refused(400, "a"), refused(422, "a"), True),
        (refused(400, "a"), refused(422, "b"), False),
        (refused(500, "a"), refused(500, "a"), False),
        (refused(400, "a"), TransportError("x"), False),
        (AuthenticationError("x", status=401), AuthenticationError("y", status=401), True),
        (InvalidInputError("x", status=400), ServerError("x", status=500), False),
    ],
)
def test_refused_likewise(one, other, likewise):
    assert is_refused_likewise(one, other) is likewise


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_of_one_replica_in_the_first_request_of_a_run(status):
    """The client has had good answers for this model before, in another run."""
    words = "Incorrect API key provided" if status == 401 else "page not found"
    blame, case = Blame((), may_probe=True, has_worked=True), new_case()
    steps = [blame.decide(refused(status, words), TEXTS, case, wants_base64=False).step for _ in range(2)]
    assert steps == [Step.AT_ONCE, Step.END]
    blame, case = Blame((), may_probe=True), new_case()
    assert blame.decide(refused(status, words), TEXTS, case, wants_base64=False).step is Step.END
