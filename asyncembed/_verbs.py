"""The verbs that are awaited: everything at once, for a function, and into a file.

What only one of them needs is imported when it is called, as most programs call only one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Unpack, overload

from asyncembed._models import EmbedInput
from asyncembed._options import for_texts
from asyncembed._repr import shown
from asyncembed._settings import check, check_count, check_flag, check_not_negative
from asyncembed._streams import Streams, check_raise_or_skip
from asyncembed.pipeline._run import Run
from asyncembed.pipeline._stream import EmbedStream
from asyncembed.pipeline._texts import check_texts

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from asyncembed._callback import Callback
    from asyncembed._check import CheckResult
    from asyncembed._models import EmbedBlock, EmbedFailure, EmbedResponse, Matrix, RunSummary, Vector
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._progress import OnProgress
    from asyncembed._settling import Item
    from asyncembed.pipeline._texts import Texts
    from asyncembed.sinks import FormatName
    from asyncembed.stores import Store


class Verbs(Streams):
    """All verbs of a client. They take the same texts and `**options`; `embed_stream` describes the texts."""

    async def embed(
        self,
        texts: Texts,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        **options: Unpack[EmbedOptionsArgs],
    ) -> EmbedResponse:
        """Embed all texts and return their vectors as one array of shape (n, dimension), in the order of the texts.

        Args:
            texts: The texts, as for `embed_stream`.
            on_error: "raise", or "skip" texts that cannot be embedded: `response.ok` is False for their rows, which
                hold NaN (float32) or zeros (other dtypes), and `response.failures` says why.
            on_progress: A function, plain or async, that is called with a `RunSummary` a few times a second and at the
                end. An async one runs beside the work; while it does, it is not called again. Exceptions in it are
                logged once and do not end the run.
            **options: See `EmbedOptionsArgs`.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which. With "skip", only if the
                request or the account is wrong, or the API is down.

        Example:
            ```python
            response = await client.embed(texts, on_error="skip")
            matrix = response.embeddings[response.ok]
            ```
        """
        from asyncembed._collect import collect  # noqa: PLC0415
        from asyncembed._progress import Progress  # noqa: PLC0415

        check_raise_or_skip(on_error)
        progress = Progress(on_progress)
        # The failures come out of the stream, to be returned.
        call = self._call(options, "raise" if on_error == "raise" else "yield")
        run = Run(call, texts, ordered=False, as_blocks=True, withholds=True)
        stream: EmbedStream[EmbedBlock | EmbedFailure] = EmbedStream(run, self._adopt)
        if not progress.is_wanted:
            return await collect(texts, stream, run)
        async with progress, progress.following(lambda: stream.summary):
            return await collect(texts, stream, run)

    @overload
    async def embed_query(self, texts: str | EmbedInput, **options: Unpack[EmbedOptionsArgs]) -> Vector: ...

    @overload
    async def embed_query(self, texts: Texts, **options: Unpack[EmbedOptionsArgs]) -> Matrix: ...

    async def embed_query(
        self, texts: str | EmbedInput | Texts, **options: Unpack[EmbedOptionsArgs]
    ) -> Vector | Matrix:
        """Embed what is searched for: a text to a vector of shape (dimension,), texts to an array (n, dimension).

        It asks for `input_type="query"` where the provider tells queries from documents. Options are those of
        `embed_stream`.

        Raises:
            AsyncEmbedError: if a text cannot be embedded; `indices` of the error says which.
        """
        asked = for_texts(options, "query")
        if isinstance(texts, str | EmbedInput):
            vector: Vector = (await self.embed([texts], **asked)).embeddings[0]
            return vector
        return (await self.embed(texts, **asked)).embeddings

    async def check(self, **options: Unpack[EmbedOptionsArgs]) -> CheckResult:
        """Ask for one harmless text, to see whether key, model and options are right before anything larger is sent.

        It is billed as any other text. Options are those of `embed_stream`.

        Raises:
            AsyncEmbedError: if the API does not take it; the class says whether it is the key, the model or the quota.

        Example:
            ```python
            result = await client.check()
            print(result.model, result.dimension, result.tokens)
            ```
        """
        from asyncembed._check import check  # noqa: PLC0415

        return await check(self._call(options, "raise"), self._adopt)

    async def dimension(self, **options: Unpack[EmbedOptionsArgs]) -> int:
        """Return the length of the vectors: as it is known, and otherwise by `check`.

        Raises:
            AsyncEmbedError: if it is not known and the API does not take a harmless text.

        Example:
            ```python
            width = await client.dimension()
            ```
        """
        known = self._call(options, "raise").known_dimension
        return known or (await self.check(**options)).dimension

    async def embed_with_callback(
        self,
        texts: Texts,
        callback: Callback,
        *,
        callback_concurrency: int = 1,
        ordered: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Call `callback(embedding, index)`, or `callback(result)` if it takes one argument, for every text.

        Texts and options are those of `embed_stream`.

        Args:
            texts: The texts.
            callback: A plain function, which is called on the event loop, or an async one.
            callback_concurrency: Most calls of an async callback at once.
            ordered: Whether the calls begin in the order of the texts, or as results arrive.
            on_error: "raise", or "skip" texts that cannot be embedded and count them.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went.

        Raises:
            Exception: what the callback raised, as it is; it stops the run.
            AsyncEmbedError: if a text cannot be embedded, after the calls for the texts before it.

        Example:
            ```python
            async def insert(embedding, index):
                print(index, embedding.shape)

            summary = await client.embed_with_callback(texts, insert, callback_concurrency=4)
            ```
        """
        from asyncembed._callback import call_back  # noqa: PLC0415

        check_count("callback_concurrency", callback_concurrency)
        check_flag("ordered", ordered)
        check_raise_or_skip(on_error)
        run = Run(self._call(options, on_error), texts, ordered=ordered)
        return await call_back(EmbedStream(run, self._adopt), callback, callback_concurrency)

    async def embed_to_file(
        self,
        texts: Texts,
        output_file: str | os.PathLike[str],
        *,
        resume: bool = False,
        overwrite: bool = False,
        keep_text: bool = True,
        format: FormatName | None = None,  # noqa: A002  # as numpy, pandas and pyarrow call it
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        stop: asyncio.Event | None = None,
        stop_wait: float = 10.0,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Write the vectors of all texts into one file, in their order; it gets its name when it is whole.

        Until then what has arrived lies in the folder `OUTPUT_FILE.partial`, in the order in which it came, safe from
        crashes and power cuts. A run that was ended by anything goes on with `resume=True`, and asks only for what
        did not arrive. While the file is made of the folder at the end, it takes twice its size on the disk; only a
        `.npy` whose vectors arrived in the order of the texts is not written again.

        Beside the file lies `OUTPUT_FILE.run.json`, which says what all runs took: requests, retries, tokens, seconds,
        and the texts that failed. The summary sums up all runs, too.

        Args:
            texts: The texts; to resume, the same ones again.
            output_file: The file: .npy, .npz, .arrow (Arrow IPC), .parquet or .jsonl.
            resume: Whether to go on with what an earlier run left. If there is nothing, the run begins, and if the
                file is whole already and of these texts, nothing is done; so a script may always pass it.
            overwrite: Whether to replace the file if it exists, and what an earlier run left of it.
            keep_text: Whether the file holds the texts beside ids and vectors.
            format: "npy", "npz", "arrow", "parquet" or "jsonl", where the suffix does not say it.
            on_error: "raise", or "skip" texts that cannot be embedded: they have no row, and are counted.
            on_progress: As for `embed`.
            stop: Set it to end the run early: it sends nothing more, takes what is in flight, as that is paid for, and
                raises `StreamClosedError`. A task that is cancelled waits for nothing, but keeps what has arrived.
            stop_wait: Most seconds to wait for what is in flight then.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went; `saved` is how many rows the file has. If that is none, no file was made.

        Raises:
            ConfigurationError: if the file exists or cannot be written, or an option is wrong; nothing was sent.
            ResumeError: if what an earlier run left is of other texts, another model or other options.
            OSError: if the disk is full, or the folder has gone; what was safe before stays so.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped; what has arrived stays safe.

        Example:
            ```python
            summary = await client.embed_to_file(texts, "vectors.npy", resume=True)
            print(summary.done, summary.resumed, summary.usage.tokens)
            ```
        """
        from asyncembed._progress import Progress  # noqa: PLC0415
        from asyncembed._settling import MAX_READY  # noqa: PLC0415
        from asyncembed._target import Target  # noqa: PLC0415
        from asyncembed._to_file import FileRun  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(texts)
        for name, value in (("resume", resume), ("overwrite", overwrite), ("keep_text", keep_text)):
            check_flag(name, value)
        check(stop is None or isinstance(stop, asyncio.Event), f"stop={shown(stop)} must be an asyncio.Event")
        check_not_negative("stop_wait", stop_wait)
        progress = Progress(on_progress)
        target = Target.of(output_file, format, resume=resume, overwrite=overwrite, keep_text=keep_text)
        target.check_apart(options.get("dead_letter"))
        call = self._call(options, on_error)
        # They are written when they are settled, and not when they may be asked for again.
        of_stream = replace(call, dead_letters=None)

        def open_stream(rest: Texts, first: int, gaps: Sequence[tuple[int, EmbedInput]]) -> EmbedStream[Item]:
            run = Run(
                of_stream,
                rest,
                ordered=False,
                first=first,
                gaps=gaps,
                as_blocks=True,
                most_ready=MAX_READY,
                withholds=True,
                settling=True,
            )
            return EmbedStream(run, self._adopt)

        run = FileRun(call, texts, target, open_stream, progress, stop=stop, stop_wait=stop_wait)
        return await run.complete()

    async def embed_to_store(
        self,
        rows: Texts,
        store: Store,
        *,
        keep_text: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        on_progress: OnProgress | None = None,
        patience: float = 60.0,
        stop: asyncio.Event | None = None,
        stop_wait: float = 10.0,
        **options: Unpack[EmbedOptionsArgs],
    ) -> RunSummary:
        """Put the vectors of rows into a store, such as a table of a database; see `asyncembed.stores`.

        The store is asked which rows it has with the very text, and only the others are embedded. So a run that was
        ended by anything goes on when it is called again, and a run over changed rows asks for those that changed. What
        may be paid for again after a crash is what was in flight and at most 2,000 rows that waited for the store.

        A row that has gone stays in the store, and changed metadata alone changes nothing. Of two rows with one id the
        last that arrives stays; the store is not closed at the end.

        Args:
            rows: (id, text) pairs, or `EmbedInput` with id and metadata, in any order; an id may be there once.
            store: Where vectors go: `SqliteVectors`, `PgVector`, `LanceTable`, or a `Store` of your own.
            keep_text: Whether the store gets the texts, too.
            on_error: "raise", or "skip" texts that cannot be embedded: they have no row, and are counted.
            on_progress: Called on the event loop a few times a second, and at the end, with how the run stands.
            patience: Seconds for which a store that fails is tried again, before its error ends the run.
            stop: Set it to end the run early: it sends nothing more, takes what is in flight, as that is paid for, and
                raises `StreamClosedError`. A task that is cancelled waits for nothing, but stores what has arrived.
            stop_wait: Most seconds to wait for what is in flight then.
            **options: See `EmbedOptionsArgs`.

        Returns:
            How the run went; `resumed` is how many rows the store had already, and `saved` counts them, too.

        Raises:
            ResumeError: if the store has vectors of another model or made with other options; nothing was sent.
            ConfigurationError: if a row has no id, or an option is wrong.
            AsyncEmbedError: if a text cannot be embedded, or the run was stopped; what has arrived is stored.
            Exception: what the store raised, when it did so for too long.
        """
        from asyncembed._progress import Progress  # noqa: PLC0415
        from asyncembed._to_store import BATCH_ROWS, StoreRun  # noqa: PLC0415

        check_raise_or_skip(on_error)
        check_texts(rows)
        check(patience >= 0, f"patience={patience!r} must be 0 or more")
        check(stop_wait >= 0, f"stop_wait={stop_wait!r} must be 0 or more")
        progress = Progress(on_progress)
        call = self._call(options, on_error)

        def open_stream(missing: Texts) -> EmbedStream[Item]:
            run = Run(
                call,
                missing,
                ordered=False,
                as_blocks=True,
                withholds=True,
                settling=True,
                whole_only=True,
                most_unsettled=2 * BATCH_ROWS,
            )
            return EmbedStream(run, self._adopt)

        run = StoreRun(
            call,
            rows,
            store,
            open_stream,
            progress.tell if progress.is_wanted else None,
            keep_text=keep_text,
            patience=patience,
            stop=stop,
            stop_wait=stop_wait,
        )
        async with progress:
            return await run.complete()
