"""How plain calls end together with their process: at its exit, in a fork, by Ctrl-C, and where a loop has gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from support.plain import wait_until

KEY = "sk-never-shown-2718"
HEAD = """
import asyncio, gc, os, sys, threading
from asyncembed import ClientSpec, EmbedClient, SyncEmbedder
URL = sys.argv[1]
spec = ClientSpec("openai", base_url=URL, api_key_env="EMBEDDINGS_KEY")
"""


@pytest.fixture
def run(server):
    """Runs a script against the server; what it prints on stderr is a fault."""

    def run(script: str, *, mode: tuple[str, ...] = ("-W", "error")) -> str:
        code = HEAD + textwrap.dedent(script)
        command = [sys.executable, *mode, "-c", code, f"{server.url}/v1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


def test_nothing_is_left_at_exit(run, server):
    out = run("""
        embedder, own = SyncEmbedder(spec), SyncEmbedder("openai", base_url=URL, api_key=os.environ["EMBEDDINGS_KEY"])
        print(embedder.embed(["a"]).embeddings.shape, own.embed_query("a").shape)
    """)
    assert out == "(1, 8) (8,)\n"
    wait_until(lambda: not server._connections)


def test_a_stream_and_calls_of_other_threads_do_not_hold_up_the_exit(run, server):
    server.latency = lambda random: 0.0 if server.ledger.requests < 2 else 30.0
    run(
        """
        embedder = SyncEmbedder(spec)
        stream = embedder.stream(map(str, range(100_000)), chunk_size=10)
        print(next(stream).text)
        def ask():
            try:
                embedder.embed(["slow"])
            except Exception:
                pass
        threading.Thread(target=ask, daemon=True).start()
        """,
        mode=(),  # aiohttp has a ResourceWarning of its own for a request that is cancelled while it is being sent
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_begins_anew_and_leaves_its_parent_alone(run, server):
    out = run(
        """
        embedder, own = SyncEmbedder(spec), SyncEmbedder("openai", base_url=URL, api_key=os.environ["EMBEDDINGS_KEY"])
        stream = embedder.stream(map(str, range(5_000)))
        next(stream), own.embed(["a"])
        child = os.fork()
        if child == 0:
            assert embedder.embed(["b"]).embeddings.shape == (1, 8)
            assert own.embed(["b"]).embeddings.shape == (1, 8)
            try:
                next(iter(lambda: next(stream).index, None)), [None for _ in stream]
            except Exception as error:
                print(type(error).__name__, flush=True)
            del stream, own
            gc.collect()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print(sum(1 for _ in stream), own.embed(["c"]).embeddings.shape, embedder.embed(["c"]).embeddings.shape)
    """,
        mode=("-W", "ignore::DeprecationWarning"),  # Python 3.12 and later warn of any fork of a process with threads
    )
    assert out == "StreamClosedError\n4999 (1, 8) (1, 8)\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_in_a_pool_of_processes(run):
    out = run(
        """
        import multiprocessing
        embedder = SyncEmbedder(spec)
        embedder.embed(["a"])
        def shape(text):
            return SyncEmbedder(spec).embed([text]).embeddings.shape
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(set(pool.map(shape, "abcdef")))
            pool.close()
            pool.join()
        """,
        mode=(),
    )
    assert out == "{(1, 8)}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize("call", ["embed", "stream", "embed_to_file"])
def test_ctrl_c_cancels_the_call_and_the_embedder_goes_on(server, call, tmp_path):
    server.latency = lambda random: 30.0 if server.ledger.asked["slow"] else 0.0
    script = HEAD + textwrap.dedent(f"""
        embedder = SyncEmbedder(spec)
        texts = ["slow"] * 3
        try:
            if "{call}" == "embed":
                embedder.embed(iter(texts))
            elif "{call}" == "stream":
                list(embedder.stream(texts))
            else:
                embedder.embed_to_file(texts, {str(tmp_path / "v.npy")!r})
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        sys.stdin.read()
        print(embedder.embed(["after"]).embeddings.shape)
    """)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, f"{server.url}/v1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        wait_until(lambda: server.active)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        server.ledger.asked.clear()
        out, err = process.communicate("", timeout=60)
    assert (out, err) == ("(1, 8)\n", "")


def test_a_client_that_is_dropped_after_its_loop_is_quiet(run, server):
    run("""
        async def leave():
            client = EmbedClient("openai", base_url=URL, api_key=os.environ["EMBEDDINGS_KEY"])
            await client.embed(["a"])
            return client
        client = asyncio.run(leave())
        del client
        gc.collect()
        kept = asyncio.run(leave())
        async def drop():
            await leave()
            gc.collect()
            await asyncio.sleep(0)
        asyncio.run(drop())
    """)
    wait_until(lambda: not server._connections)


def test_no_thread_is_started_before_the_first_call(run):
    out = run("""
        embedder = SyncEmbedder(spec)
        print(threading.active_count())
    """)
    assert out == "1\n"
