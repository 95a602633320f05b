"""Decides which texts are too long for a model, cuts them, and learns from refusals. No I/O.

The limit comes from the table of models, from the caller, or from a refusal. How many tokens a text has is an estimate:
it decides which texts are sent apart from the others and where a text is cut, but never that a text fails. If the API
refuses a text that was cut, it is cut again, by the numbers that the refusal names or by a third.

A refusal may be wrong about the reason. So what the client concludes from it holds for other texts only when the API
has taken a shorter start of the same text.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from asyncembed._decide.signs import TOO_LONG, OwnWords
from asyncembed._decide.token_count import estimate_tokens
from asyncembed._decide.too_large import read_too_large
from asyncembed._exceptions import APIStatusError, ErrorAnswer, answer_of
from asyncembed._models import EmbedBlock, EmbedInput, EmbedResult, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncembed._decide.signs import Sign
    from asyncembed._exceptions import AsyncEmbedError

Result: TypeAlias = EmbedResult[Scalar] | EmbedBlock[Scalar]

MAX_CUTS: Final = 12
"""Times that one text is cut before it fails: nine cuts by a third leave a fortieth."""

MAX_CUTS_TOGETHER: Final = 4
"""The same for texts of one request, of which the refusal does not say which are too long; then each is sent alone."""

MAX_CUT_KNOWN: Final = 100_000
"""Texts of which the client knows that it has cut them; of further ones, only the estimate says so."""

_SHARE: Final = 2 / 3
"""Part of a refused text that is sent again if the refusal names no numbers."""
_MARGIN: Final = 0.95
"""Part of the limit to cut to if a refusal has shown that the estimate was wrong."""
_MAX_SCALE: Final = 8.0

_CHARS_PER_TOKEN: Final = 2.5
"""An ASCII text with fewer characters per token is rare; the estimate is not worth its time for a shorter text."""
_TOKENS_PER_CHAR: Final = 1.4
"""Upper bound of the estimate for a text of any language."""
_LONGEST_TOKEN: Final = 12
"""Characters per token of the part of a text that is looked at; few texts have that many."""
_DOUBT: Final = 1.5
"""Factor by which the estimate may be wrong: within it, the client cannot tell whether the API cut a text."""

_CODES: Final = frozenset({"context_length_exceeded", "string_above_max_length"})
_COUNTED: Final = r"\b(?:tokens?|context|length|characters?)\b"
_EXCESS: Final = r"\btoo (?:many|large|long)\b|\bexceed|\bmax|\blimit|\bat most\b|\bup to\b|\bmore than\b"
_PLACES: Final = r"\[\d+\]|\b(?:inputs?|texts?)\.\d+\b|\b(?:id|index|position|item|number) \d+"
_NUMBERS: Final = r"(?<![\w.,-])\d{2,12}(?![\w.-]*\w)"


class Attempt(Protocol):
    """An attempt to get the vectors of texts: a `Delivery`."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Indices of the texts without a vector."""
        ...


@dataclass(frozen=True, slots=True)
class TooLong:
    """How a text was too long.

    Attributes:
        limit: The limit in tokens, if the refusal names it.
        size: Tokens of the text, if the refusal names them.
    """

    limit: int | None = None
    size: int | None = None


def read_too_long(error: AsyncEmbedError, texts: Sequence[str]) -> TooLong | None:
    """Return how a text was too long; None if the API refused the texts for another reason.

    Args:
        error: The refusal.
        texts: The texts of the request. What the refusal quotes of them decides nothing.
    """
    if not isinstance(error, APIStatusError):
        return None
    message = error.provider_message
    answer = answer_of(error) or ErrorAnswer(status=error.status or 0, provider_message=message)
    own = OwnWords("\n".join((message, *answer.codes)), texts)
    excess = read_too_large(error)
    is_of_text = excess is not None and (excess.is_of_one_text or len(texts) == 1)
    in_words = re.search(_COUNTED, own.text) and re.search(_EXCESS, own.text)
    if not (is_of_text or in_words or not _CODES.isdisjoint(answer.codes) or _fits(TOO_LONG, answer, own)):
        return None
    words = OwnWords(message, texts).text
    if re.search(r"\bcharacters?\b", words):  # of other units than the limit, or both are
        found = re.search(r"\b(\d+) tokens\b", words)
        return TooLong(int(found[1]) if found else None)
    numbers = sorted({int(digits) for digits in re.findall(_NUMBERS, re.sub(_PLACES, " ", words))})
    if len(numbers) > 1:
        return TooLong(numbers[0], numbers[-1])
    return TooLong(numbers[0]) if numbers else TooLong()


def _fits(signs: Iterable[Sign], answer: ErrorAnswer, own: OwnWords) -> bool:
    return any(sign.fits(answer, own) for sign in signs)


@dataclass(slots=True)
class TextLimit:
    """What refusals have taught about the texts that a model takes.

    Attributes:
        tokens: The limit that a refusal named; None if none did.
        refused: Fewest estimated tokens of a refused text, if no refusal named the limit.
        scale: The API's tokens per estimated token.
    """

    tokens: int | None = None
    refused: float | None = None
    scale: float = 1.0

    def learn(self, lesson: Lesson) -> None:
        """Learn from the refusals of a text of which the API has then taken a shorter start."""
        if self.tokens is None:
            self.refused = min(self.refused or lesson.refused, lesson.refused)
        self.scale = min(_MAX_SCALE, max(self.scale, lesson.scale))


@dataclass(slots=True)
class Lesson:
    """What the refusals of one text teach, if the API takes a shorter start of it in the end.

    Attributes:
        refused: Fewest estimated tokens that were refused.
        length: Characters of that start.
        scale: The API's tokens per estimated token.
    """

    refused: float
    length: int
    scale: float = 1.0

    def add(self, estimate: float, length: int, scale: float) -> None:
        """Add a refusal."""
        self.refused, self.length = min(self.refused, estimate), min(self.length, length)
        self.scale = max(self.scale, scale)


class LongTexts:
    """The texts of one run that are too long, or may be.

    Args:
        learned: What refusals have taught; shared by all runs of a client with this model.
        limit: Maximum number of tokens of one text, if it is known.
        prompt: Prefix of each text.
        cuts: Whether the client cuts texts that are too long.
        api_cuts: Whether the API was told to cut them.
        refuses: Whether the API is known to refuse them, so that a text with a vector was not cut by it.
    """

    def __init__(
        self, learned: TextLimit, limit: int | None, prompt: str, *, cuts: bool, api_cuts: bool, refuses: bool
    ) -> None:
        self._learned = learned
        self._limit = limit
        self._prompt_tokens = estimate_tokens(prompt) if prompt else 0
        self.cuts = cuts
        self._api_cuts = api_cuts
        self._refuses = refuses
        self.apart_size = sys.maxsize if cuts else 1
        """Number of texts that may be sent apart in one request. Each of those that fail needs a request of its own."""
        self._sent: dict[int, str] = {}  # what is sent instead of a text, by index
        self._times: dict[int, int] = {}  # how often a text was cut after a refusal
        self._lessons: dict[int, Lesson] = {}  # of refused texts that are sent again, by index
        self._supposed = 1.0  # the scale by these, as far as it is likely
        self._recalled: dict[int, bool | None] = {}  # whether the vectors of a cache are those of a start, by index
        self.truncated = 0
        """Number of vectors that are known to be those of the start of a text."""
        self._cut: dict[int, None] = {}  # hashes of the texts that were cut, as equal texts may share the vector
        self._forgot = False  # whether some of them were dropped

    @property
    def limit(self) -> int | None:
        """Maximum number of tokens of a text without the prompt, as far as it is known."""
        known = [limit for limit in (self._limit, self._learned.tokens) if limit is not None]
        if not known:
            return None if self._learned.refused is None else max(1, int(self._learned.refused))
        return max(1, min(known) - self._prompt_tokens)

    @property
    def separates(self) -> bool:
        """Whether texts that seem too long are sent apart; not if the API cuts them itself."""
        return not self._api_cuts and self.limit is not None

    @property
    def least_chars(self) -> float:
        """Number of characters up to which no text is too long."""
        return (self.limit or 0) / (_TOKENS_PER_CHAR * self._scale)

    def is_long(self, text: str) -> bool:
        """Whether the text has too many tokens, by the estimate."""
        limit = self.limit
        return limit is not None and self._may_have(text, limit) and self._tokens(text, limit) > limit

    def begin(self, index: int, text: str) -> str:
        """Return what to send instead of a text that seems too long: the text, or its start."""
        limit = self.limit
        if not self.cuts or limit is None:
            return text
        margin = _SHARE if self._limit is self._learned.tokens is None else _MARGIN if self._scale > 1 else 1.0
        self._sent[index] = shortened(text, limit * margin / self._scale)
        return self._sent[index]

    def accepted(self) -> None:
        """Note that the API took texts that were sent apart: the next request may hold twice as many of them."""
        self.apart_size = min(2 * self.apart_size, sys.maxsize)

    def as_sent(self, attempt: Attempt, texts: list[str]) -> list[str]:
        """Return the texts of a request, with the start of each text that is cut."""
        if not self._sent:
            return texts
        return [self._sent.get(index, text) for index, text in zip(attempt.missing, texts, strict=True)]

    def cut_again(
        self, error: AsyncEmbedError, inputs: Mapping[int, EmbedInput], named: Sequence[int], *, apart: bool
    ) -> bool:
        """Cut texts that were refused as too long, and return whether the rest of them can be sent.

        Texts that seem too long by what the refusal has taught are cut as well. Without `cuts`, it learns only.

        Args:
            error: The refusal.
            inputs: The texts of the request, by index.
            named: Indices of the texts that the refusal names.
            apart: Whether these texts were sent apart because they seemed too long.
        """
        sent = {index: self._sent.get(index, item.text) for index, item in inputs.items()}
        excess = read_too_long(error, list(sent.values()))
        if excess is None:
            return False
        if not self.cuts:
            self.apart_size = 1
        guilty = list(named) or (list(inputs) if len(inputs) == 1 else self._likely(sent) if apart else [])
        limit = self.limit
        if excess.limit:
            self._learned.tokens = min(self._learned.tokens or excess.limit, excess.limit)
        if not self.cuts:
            return False
        are_sure = bool(named) or len(guilty) == 1
        if guilty:
            self._note_refusal(excess, {index: sent[index] for index in guilty}, limit, are_sure=are_sure)
        others = [index for index in inputs if index not in guilty and self.is_long(sent[index])]
        for index in others:
            self.begin(index, inputs[index].text)
        if not guilty:
            return bool(others)
        share = _SHARE
        if excess.limit and excess.size:
            share = max(0.05, min(_MARGIN * excess.limit / excess.size, _MARGIN))
        if not are_sure and max(self._times.get(index, 0) for index in guilty) >= MAX_CUTS_TOGETHER:
            self._begin_again({index: inputs[index].text for index in guilty})
            return False
        return all(self._cut_one(index, sent[index], share) for index in guilty)

    def mark(self, results: Sequence[Result]) -> list[Result]:
        """Return results that say which texts were cut, and count these."""
        marked: list[Result] = []
        for result in results:
            if isinstance(result, EmbedBlock):
                flags = [self._flag(index, item.text) for index, item in enumerate(result.inputs, result.index)]
                marked.append(replace(result, truncated=flags))
            else:
                flags = [self._flag(result.index, result.text)]
                result.truncated = flags[0]
                marked.append(result)
            self.truncated += flags.count(True)
            if self._sent:
                for index in range(result.index, result.index + result.span):
                    self._times.pop(index, None)
                    sent, lesson = self._sent.pop(index, None), self._end_lesson(index)
                    if sent and lesson and len(sent) < lesson.length:
                        self._learned.learn(lesson)
        return marked

    def failed(self, indices: Iterable[int]) -> None:
        """Note that these texts get no vector."""
        for index in indices:
            self._sent.pop(index, None)
            self._times.pop(index, None)
            self._end_lesson(index)

    def recalled(self, known: Iterable[tuple[int, bool | None]]) -> None:
        """Note of vectors that come out of a cache, by index, whether they are those of the start of a text."""
        self._recalled.update(known)

    def withdrawn(self, inputs: Iterable[EmbedInput]) -> None:
        """Note that vectors of these texts were taken back."""
        self.truncated -= [self.was_cut(item.text) for item in inputs].count(True)

    def was_cut(self, text: str) -> bool | None:
        """Whether the vector of a text is that of its start alone; None if unknown."""
        if self._cut and hash(text) in self._cut:
            return True
        limit = self.limit
        if self._refuses and not self._forgot:
            return False
        if limit is None:
            return None
        if not self._may_have(text, limit / _DOUBT):
            return False
        tokens = self._tokens(text, limit * _DOUBT)
        if tokens * _DOUBT <= limit:
            return False
        return True if self._api_cuts and tokens >= limit * _DOUBT else None

    def _flag(self, index: int, text: str) -> bool | None:
        """Return whether a vector that is delivered is that of the start of a text; None if unknown."""
        if index in self._recalled:
            return self._recalled.pop(index)
        if len(self._sent.get(index, text)) < len(text):
            self._cut[hash(text)] = None
            if len(self._cut) > MAX_CUT_KNOWN:
                del self._cut[next(iter(self._cut))]
                self._forgot = True
        return self.was_cut(text)

    def _note_refusal(self, excess: TooLong, sent: Mapping[int, str], limit: int | None, *, are_sure: bool) -> None:
        """Note what a refusal teaches about texts, or, if they may not all be too long, about the largest."""
        learned, estimates = self._learned, {index: estimate_tokens(text) for index, text in sent.items()}
        largest = max(estimates, key=estimates.__getitem__)
        for index in sent if are_sure else [largest]:
            estimate, scale = estimates[index], 1.0
            if excess.size is not None:
                scale = excess.size / estimates[largest]
            elif limit is not None and learned.tokens is not None and estimate * learned.scale <= limit:
                scale = limit / (_SHARE * estimate)  # it seemed to fit
            lesson = self._lessons.setdefault(index, Lesson(estimate, len(sent[index])))
            lesson.add(estimate, len(sent[index]), scale)
        self._suppose()

    def _end_lesson(self, index: int) -> Lesson | None:
        lesson = self._lessons.pop(index, None)
        if lesson:
            self._suppose()
        return lesson

    def _suppose(self) -> None:
        supposed = max((lesson.scale for lesson in self._lessons.values()), default=1.0)
        self._supposed = min(_DOUBT, supposed)

    @property
    def _scale(self) -> float:
        """The API's tokens per estimated token, as this run cuts texts now."""
        return max(self._learned.scale, self._supposed)

    def _begin_again(self, texts: Mapping[int, str]) -> None:
        """Forget how texts were cut together: one of them may be the only reason, and each is sent alone now."""
        self.failed(texts)
        for index, text in texts.items():
            self.begin(index, text)

    def _may_have(self, text: str, tokens: float) -> bool:
        """Whether a text is so long that it may have more than `tokens` tokens, and an estimate is worth its time."""
        tokens /= self._scale
        return len(text) > (tokens * _CHARS_PER_TOKEN if text.isascii() else tokens / _TOKENS_PER_CHAR)

    def _tokens(self, text: str, most: float) -> float:
        """Return the estimated tokens of a text; of a very long one, by its start."""
        part = text[: int(most * _LONGEST_TOKEN) + 1]
        return estimate_tokens(part) * self._scale * (len(text) / len(part))

    def _likely(self, sent: Mapping[int, str]) -> list[int]:
        """Return those of several texts that are likely to be too long: those with nearly as many tokens as any."""
        tokens = {index: estimate_tokens(text) for index, text in sent.items()}
        most = max(tokens.values())
        return [index for index, count in tokens.items() if count * _DOUBT >= most]

    def _cut_one(self, index: int, sent: str, share: float) -> bool:
        times = self._times.get(index, 0)
        if times >= MAX_CUTS or len(sent) < 2:  # noqa: PLR2004
            return False
        self._times[index] = times + 1
        self._sent[index] = between_words(sent, int(len(sent) * share))
        return True


def shortened(text: str, tokens: float) -> str:
    """Return the start of a text with at most about `tokens` tokens, cut between words."""
    start = text[: int(tokens * _LONGEST_TOKEN) + 1]
    for _ in range(4):  # each time the rest is more alike
        estimate = estimate_tokens(start)
        if estimate <= tokens and len(start) < len(text):
            break
        if estimate <= tokens:
            return text
        start = between_words(text, int(len(start) * tokens / estimate))
    return between_words(text, len(start))


def between_words(text: str, length: int) -> str:
    """Return at most `length` characters of a text, at least one, cut between words if it has spaces."""
    length = max(1, length)
    if length >= len(text):
        return text
    start = text[:length]
    if not text[length].isspace():
        words = start.rstrip()
        cut = max(words.rfind(" "), words.rfind("\n"), words.rfind("\t"))
        if cut >= length // 2:
            start = start[:cut]
    return start.rstrip() or start
