"""Calls your function with each result: plain or async, one call at a time or several at once."""

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
"""A plain or async function of a vector of shape (dimension,) and its index, or of a result."""

_NAMES_OF_INDEX = {"index", "i", "idx"}
_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def takes_result(callback: Callable[..., object]) -> bool:
    """Return whether a callback takes a result, rather than a vector and its index.

    A callback with one parameter takes a result. Parameters with defaults count only if all parameters have one. A
    callback whose signature cannot be inspected takes a vector and its index.

    Raises:
        ConfigurationError: if neither call is possible, or the first of two parameters is named like an index.
    """
    if not callable(callback):
        raise ConfigurationError(
            f"callback is a {type(callback).__name__}, but must be a function of (embedding, index) or (result)"
        )
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (ValueError, TypeError):
        return False
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    if inspect.isasyncgenfunction(callback) or any(map(_is_required_keyword, parameters)):
        raise ConfigurationError("callback must be a plain or async function of (embedding, index) or (result)")
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    required = [parameter for parameter in positional if parameter.default is parameter.empty]
    if not positional or len(required) > 2:  # noqa: PLR2004
        raise ConfigurationError("callback must be a plain or async function of (embedding, index) or (result)")
    is_for_result = len(required) == 1 or len(positional) == 1
    if not is_for_result and positional[0].name in _NAMES_OF_INDEX:
        raise ConfigurationError(
            f"callback takes ({positional[0].name}, {positional[1].name}), but it is called with (embedding, index); "
            f"write ({positional[1].name}, {positional[0].name})"
        )
    return is_for_result


async def call_back(
    stream: EmbedStream[EmbedResult[Scalar]], callback: Callable[..., object], at_once: int
) -> RunSummary:
    """Call `callback` for every result of a stream, with at most `at_once` concurrent calls.

    Raises:
        AsyncEmbedError: the error that ended the stream, after the calls for all earlier results.
        BaseException: the exception of the callback, unchanged. Other running calls are cancelled.
    """
    started = time.monotonic()
    call = _call_with_result if takes_result(callback) else _call_with_vector
    async with stream:
        if at_once == 1:
            async for result in stream:
                await call(callback, result)
        else:
            await _call_concurrently(stream, lambda result: call(callback, result), at_once)
    return replace(stream.summary, elapsed=time.monotonic() - started)


async def _call_concurrently(
    stream: EmbedStream[EmbedResult[Scalar]], call: Callable[[EmbedResult[Scalar]], Awaitable[None]], at_once: int
) -> None:
    stream_lock = anyio.Lock()  # only one task may iterate over a stream at a time
    # The errors are collected, because a task group would wrap them in an exception group.
    callback_errors: list[BaseException] = []
    stream_errors: list[BaseException] = []

    async def next_result() -> EmbedResult[Scalar] | None:
        try:
            async with stream_lock:
                return await anext(stream, None)
        except Exception as error:  # noqa: BLE001
            stream_errors.append(error)
            return None

    async def work() -> None:
        while result := await next_result():
            try:
                await call(result)
            except BaseException as error:
                callback_errors.append(error)
                workers.cancel_scope.cancel()
                if isinstance(error, asyncio.CancelledError):
                    raise  # your task itself may have been cancelled
                return

    async with anyio.create_task_group() as workers:
        for _ in range(at_once):
            workers.start_soon(work)
    _raise_first(callback_errors + stream_errors)


def _raise_first(errors: Sequence[BaseException]) -> None:
    for error in errors[1:]:
        errors[0].add_note(f"also raised: {type(error).__name__}: {error}")
    if errors:
        raise errors[0]


async def _call_with_result(callback: Callable[..., object], result: EmbedResult[Scalar]) -> None:
    await _await_if_awaitable(callback(result))


async def _call_with_vector(callback: Callable[..., object], result: EmbedResult[Scalar]) -> None:
    await _await_if_awaitable(callback(result.embedding, result.index))


async def _await_if_awaitable(returned: object) -> None:
    if inspect.isawaitable(returned):
        await returned


def _is_required_keyword(parameter: inspect.Parameter) -> bool:
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is parameter.empty
