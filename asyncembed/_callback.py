"""Results for a function of the caller's: plain or async, one at a time or some side by side."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import anyio
import numpy.typing as npt

from asyncembed._exceptions import ConfigurationError
from asyncembed._models import EmbedResult, ScalarT_co

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from asyncembed._core.stream import EmbedStream
    from asyncembed._models import RunSummary, Scalar

Callback: TypeAlias = Callable[[npt.NDArray[ScalarT_co], int], object] | Callable[[EmbedResult[ScalarT_co]], object]
"""Gets a vector and its index, or a result; what it returns is awaited if it can be."""

_NAMES_OF_INDEX = {"index", "i", "idx"}
_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def takes_result(callback: Callable[..., object]) -> bool:
    """Whether a callback wants a result, and not a vector and its index.

    It does if it has one argument; arguments with defaults do not count beside one without. What cannot be looked into
    gets two.

    Raises:
        ConfigurationError: if it cannot be called with either, or its arguments are in the wrong order.
    """
    if not callable(callback):
        raise ConfigurationError(f"callback is a {type(callback).__name__}, which cannot be called")
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (ValueError, TypeError):
        return False
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    if inspect.isasyncgenfunction(callback) or any(map(_must_be_named, parameters)):
        raise ConfigurationError("callback must be a plain or async function of (embedding, index) or (result)")
    places = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    needed = [parameter for parameter in places if parameter.default is parameter.empty]
    if not places or len(needed) > 2:  # noqa: PLR2004
        raise ConfigurationError("callback must be a plain or async function of (embedding, index) or (result)")
    is_of_result = len(needed) == 1 or len(places) == 1
    if not is_of_result and places[0].name in _NAMES_OF_INDEX:
        raise ConfigurationError(
            f"callback takes ({places[0].name}, {places[1].name}), but it is called with (embedding, index); "
            f"write ({places[1].name}, {places[0].name})"
        )
    return is_of_result


async def call_back(
    stream: EmbedStream[EmbedResult[Scalar]], callback: Callable[..., object], at_once: int
) -> RunSummary:
    """Call `callback` for every result of a stream, at most `at_once` times side by side.

    Raises:
        AsyncEmbedError: what ended the stream, after the calls for the results before it.
        BaseException: what the callback raised, as it is; calls that are on their way are cancelled.
    """
    started = time.monotonic()
    call = _call_with_result if takes_result(callback) else _call_with_vector
    async with stream:
        if at_once == 1:
            async for result in stream:
                await call(callback, result)
        else:
            await _side_by_side(stream, lambda result: call(callback, result), at_once)
    return replace(stream.summary, elapsed=time.monotonic() - started)


async def _side_by_side(
    stream: EmbedStream[EmbedResult[Scalar]], call: Callable[[EmbedResult[Scalar]], Awaitable[None]], at_once: int
) -> None:
    turn = anyio.Lock()  # a stream has one consumer at a time
    # Kept and not raised, so that no exception group is made of them.
    of_callbacks: list[BaseException] = []
    of_stream: list[BaseException] = []

    async def take() -> EmbedResult[Scalar] | None:
        try:
            async with turn:
                return await anext(stream, None)
        except Exception as error:  # noqa: BLE001
            of_stream.append(error)
            return None

    async def work() -> None:
        while result := await take():
            try:
                await call(result)
            except BaseException as error:
                of_callbacks.append(error)
                workers.cancel_scope.cancel()
                if isinstance(error, asyncio.CancelledError):
                    raise  # it may be the cancellation of all this
                return

    async with anyio.create_task_group() as workers:
        for _ in range(at_once):
            workers.start_soon(work)
    _raise_first(of_callbacks + of_stream)


def _raise_first(errors: Sequence[BaseException]) -> None:
    for error in errors[1:]:
        errors[0].add_note(f"besides: {type(error).__name__}: {error}")
    if errors:
        raise errors[0]


async def _call_with_result(callback: Callable[..., object], result: EmbedResult[Scalar]) -> None:
    await _finish(callback(result))


async def _call_with_vector(callback: Callable[..., object], result: EmbedResult[Scalar]) -> None:
    await _finish(callback(result.embedding, result.index))


async def _finish(returned: object) -> None:
    if inspect.isawaitable(returned):
        await returned


def _must_be_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is parameter.empty
