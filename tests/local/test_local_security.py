"""The embedded server towards everybody else, and a folder that somebody has prepared as a model."""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import aiohttp
import pytest

from asyncembed import ConfigurationError
from asyncembed.local import LocalModel, LocalServer
from asyncembed.local._model import BUNDLED

ROOT = Path(__file__).parents[2]
KEY = "sk-of-the-server"

LOAD = """
import json, sys
import model2vec
from asyncembed.local import LocalModel
seen, folder = [], sys.argv[1]
WATCHED = "open pickle.find_class socket.connect socket.getaddrinfo subprocess.Popen os.exec os.system".split()
def watch(event, arguments):
    if event in WATCHED and (event != "open" or str(arguments[0]).startswith(folder)):
        seen.append([event, str(arguments[0])[len(folder) + 1:] if event == "open" else repr(arguments)])
sys.addaudithook(watch)
try:
    LocalModel(folder).embed(["a cat"])
    end = "loaded"
except Exception as error:
    end = f"{type(error).__name__}: {error}"
print(json.dumps([end, seen]))
"""


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def prepared(tmp_path):
    """The shipped model among files that would run code if anything loaded them, and the mark they would leave."""
    pytest.importorskip("model2vec")
    folder, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(BUNDLED, folder)
    bomb = pickle.dumps(Bomb(mark))
    pickle.loads(bomb)
    assert mark.is_dir(), "the bomb does nothing"
    mark.rmdir()
    code = f"import os; os.mkdir({str(mark)!r})"
    for name in ("pytorch_model.bin", "model.pkl", "tokenizer.pkl", "embeddings.npy", "training_args.bin"):
        (folder / name).write_bytes(bomb)
    for name in ("__init__.py", "modeling.py", "tokenization.py", "conftest.py"):
        (folder / name).write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "modeling.Model"}, "trust_remote_code": True, "architectures": ["modeling"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text(f"---\nlicense: !!python/object/apply:os.mkdir ['{mark}']\n---\n")
    yield folder
    assert not mark.exists()


def load(folder):
    """Load a model in a process that writes down what it does meanwhile."""
    process = subprocess.run(
        [sys.executable, "-c", LOAD, folder],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return json.loads(process.stdout)


def test_nothing_in_the_folder_of_a_model_is_executed(prepared):
    """Neither pickles nor modules are opened, and nobody is asked over the network."""
    end, seen = load(prepared)
    assert end.startswith("ConfigurationError")  # the head of README.md is no plain YAML
    assert {name for _, name in seen} <= {"config.json", "README.md"}
    (prepared / "README.md").write_text("---\nlicense: mit\n---\n")
    end, seen = load(prepared)
    assert end == "loaded"
    assert {tuple(event) for event in seen} <= {("open", "config.json"), ("open", "README.md")}


def test_a_folder_with_nothing_but_a_pickle_is_no_model(prepared):
    (prepared / "model.safetensors").unlink()
    end, seen = load(prepared)
    assert end.startswith("ConfigurationError")
    assert seen == []


def test_a_pickle_in_the_place_of_the_weights_is_no_model(prepared):
    shutil.copy(prepared / "pytorch_model.bin", prepared / "model.safetensors")
    (prepared / "README.md").unlink()
    with pytest.raises(ConfigurationError, match="holds no readable model2vec model"):
        LocalModel(prepared)


async def test_it_listens_on_loopback_alone_unless_told_otherwise(server):
    hosts = {address[0] for address in server._runner.addresses}
    assert hosts == {"127.0.0.1"}


async def test_where_others_can_reach_it_everything_needs_the_key(model):
    async with LocalServer(model=model, host="0.0.0.0", api_key=KEY) as server, aiohttp.ClientSession() as http:
        for key, status in (("wrong", 401), (KEY, 200)):
            headers = {"Authorization": f"Bearer {key}", "Host": "example.com"}
            async with http.get(f"http://127.0.0.1:{server.port}/health", headers=headers) as reply:
                assert reply.status == status


async def test_the_key_is_checked_before_the_body_is_read(model):
    """Or anybody could fill the memory."""
    async with LocalServer(model=model, api_key=KEY) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /v2/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"401"
        writer.close()
        await writer.wait_closed()


async def test_the_key_is_compared_in_constant_time(model, monkeypatch):
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or compare(*pair))
    headers = {"Authorization": "Bearer sk"}
    async with (
        LocalServer(model=model, api_key=KEY) as server,
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/health", headers=headers) as reply,
    ):
        assert reply.status == 401
    assert compared == [(b"Bearer sk", f"Bearer {KEY}".encode())]


async def test_the_key_of_the_server_is_not_shown(model):
    server = LocalServer(model=model, api_key=KEY)
    assert KEY not in repr(vars(server))
    with pytest.raises(ConfigurationError) as caught:
        LocalServer(host="", api_key=KEY)
    frames = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "api_key = '***'" in frames
    assert KEY not in frames


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", b'{"model": "m", "input": [' + b'"a",' * 5_000_000 + b'"a"]}'),
        ("/v2/embed", b'{"model": "m", "input_type": "search_query", "texts": [' + b'"a",' * 5_000_000 + b'"a"]}'),
        ("/v2/embed", b'{"model": "m", "texts": ' + b"[" * 5_000_000),
        ("/v1/embeddings", b'{"model": "m", "input": "a", "dimensions": ' + b"9" * 5_000_000 + b"}"),
    ],
)
async def test_absurd_requests_are_refused(http, path, body):
    """Before they are tokenised."""
    async with http.post(path, data=io.BytesIO(body), headers={"Content-Type": "application/json"}) as reply:
        assert reply.status == 400
        assert len(await reply.read()) < 1_000
