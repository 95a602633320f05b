"""Messages of the command line name its own options, not the arguments of Python."""

from __future__ import annotations

import re

import pytest
from support.scripted import refused

HERE = ("--provider", "openai", "--base-url", "http://127.0.0.1:1/v1", "--model", "m")
PYTHON = re.compile(r"\b[a-z]+(_[a-z]+)*=(?!\.\.\.)|EmbedInput|api_key|=True")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    """No keys and no region of the machine that runs the tests."""
    names = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "EMBED_API_KEY", "JINA_API_KEY")
    more = ("JINAAI_API_KEY", "JINA_AI_API_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK")
    for name in (*names, *more, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder with inputs, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    (tmp_path / "t.csv").write_text("id,text,hash\n1,one,x\n2,two,y\n")
    (tmp_path / "t.jsonl").write_text('{"id": 99999999999999999999999, "text": "one"}\n')
    (tmp_path / "old.npy").write_bytes(b"something else")


EMBED = ("embed", "t.txt", "-o", "v.npy")
TO = ("embed", "t.csv", "--to", "sqlite:v.db#docs")
TABLE = [
    ((*EMBED, "--provider", "azure-openai", "--base-url", "https://x.example"), "no default model; pass --model"),
    (("check", "--provider", "custom", "--model", "m"), "has no address of its own: pass --base-url"),
    ((*EMBED, "--provider", "cohere"), "provider 'cohere' needs a key: set CO_API_KEY or COHERE_API_KEY"),
    (("check", "--provider", "jina"), "set JINA_API_KEY or JINAAI_API_KEY or JINA_AI_API_KEY"),
    (
        ("check", "--provider", "bedrock-titan"),
        "needs --setting region=... (variable AWS_REGION or AWS_DEFAULT_REGION)",
    ),
    ((*EMBED, "--provider", "bedrock-titan", "--setting", "zone=1"), "--setting zone is unknown to this provider"),
    ((*EMBED, *HERE, "--max-cost", 1), "--max-cost 1.0 needs the price"),
    ((*EMBED, *HERE, "--max-cost", 1), "for a million tokens with --price, or limit the tokens with --max-tokens"),
    ((*EMBED, *HERE, "--price", -1), "--price -1.0 must be a number above 0"),
    ((*EMBED, *HERE, "--max-memory", 0), "--max-memory 0.0 must be a number above 0"),
    ((*EMBED, *HERE, "--timeout", 0), "--timeout 0.0 must be a number above 0"),
    ((*EMBED, *HERE, "--cache", "t.txt", "--cache-mb", 0), "--cache-mb 0.0 must be"),
    ((*EMBED, *HERE, "--prompts", "e6"), "--prompts 'e6' is not a known family"),
    (
        (*EMBED, *HERE, "--catalogue", "text-embedding-3-smal"),
        "--catalogue 'text-embedding-3-smal' is not a known model",
    ),
    ((*EMBED, *HERE, "--shorten", "client"), "--shorten 'client' needs --dimensions, the length"),
    ((*EMBED, *HERE, "--dtype", "int8"), "--dtype 'int8' is not offered"),
    (
        (*EMBED, "--provider", "cohere", "--base-url", "http://127.0.0.1:1", "--dtype", "int8", "--normalize"),
        "of --dtype 'int8'; leave out --shorten and --normalize",
    ),
    ((*EMBED, *HERE, "--truncate", "END"), "--truncate 'END' is not an option of provider 'openai'"),
    ((*EMBED, *HERE, "--truncate", "END"), "can be passed with --extra NAME=VALUE"),
    ((*EMBED, *HERE, "--extra", "input=1"), "--extra must not contain input"),
    (
        (*EMBED, *HERE, "--dead-letter", "d"),
        "with --on-error 'raise' the first failure ends the run; use --on-error skip",
    ),
    (
        (*EMBED, *HERE, "--dead-letter", "old.npy", "--on-error", "skip"),
        "old.npy' exists and is not a dead-letter file",
    ),
    ((*EMBED, *HERE, "--cache", "t.txt"), "--cache 't.txt' cannot be used"),
    ((*EMBED, "--provider", "nobody"), "--provider 'nobody' is not known"),
    (("providers", "nobody"), "provider 'nobody' is not known"),
    ((*EMBED, "--provider", "openai", "--base-url", "ftp://x"), "--base-url 'ftp://x' is not an http:// or https://"),
    (("embed", "t.txt", "-o", "old.npy", *HERE), "old.npy exists; replace it with --overwrite, or choose another name"),
    ((*EMBED, *HERE, "--resume", "--overwrite"), "--resume and --overwrite contradict each other"),
    (("embed", "t.jsonl", "--to", "sqlite:v.db#docs"), "has more than 64 bits; write it as text"),
    ((*TO, "--limit", 1, "--keep-column", "hash"), "--keep-column: a column has the name 'hash'"),
    (("embed", "t.csv", "--to", "sqlite:v.db#sqlite_x"), "table 'sqlite_x' cannot be the name of a table in SQLite"),
    (("serve", "--host", "0.0.0.0", "--port", 0), "other machines can reach '0.0.0.0': add --api-key-env"),
]


@pytest.mark.parametrize(("command", "words"), TABLE)
def test_messages_name_options(run, texts, command, words):
    ended = run(*command)
    assert ended.code == 2, ended.err
    assert words in ended.err
    assert not PYTHON.search(ended.err.replace("--setting region=", "").replace("--extra NAME=", "")), ended.err


def test_an_answer_of_a_server_stays_as_it_is(run, texts, threaded_server, openai):
    threaded_server.default = refused(401, "pass model=x and api_key=y")
    ended = run(*EMBED, *openai(threaded_server))
    assert ended.code == 1
    assert "pass model=x and api_key=y" in ended.err
    assert ended.err.splitlines()[0].endswith("no key was sent; set OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((*EMBED, "--id-field", "doc"), "t.txt: plain text has lines and no field 'doc'; leave out --id-field"),
        ((*EMBED, "--text-field", "body"), "t.txt: plain text has lines and no field 'body'; leave out --text-field"),
        ((*EMBED, "--keep-column", "lang"), "t.txt: plain text has lines and no field 'lang'; leave out --keep-column"),
        ((*EMBED, "--cache-mb", 10), "--cache-mb is the size of a cache, and there is none; add --cache FILE"),
        (("serve", "--unix", "s", "--port", 0), "either at --unix or at --host and --port"),
        ((*EMBED, "--delimiter", ";"), "--delimiter is for CSV, and no input is CSV"),
        (("embed", "t.csv", "-o", "v.npy", "--template", "{text}", "--text-field", "text"), "--text-field is not used"),
    ],
)
def test_an_option_without_effect_is_refused(run, texts, command, words):
    ended = run(*command)
    assert ended.code
    assert words in ended.err


@pytest.mark.parametrize("command", ["embed", "search", "check", "serve", "info", "providers"])
def test_the_help_shows_whole_names_at_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "300")
    names = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", run(command, "--help").out))
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(command, "--help").out
    assert max(map(len, shown.splitlines())) == 80
    assert names <= set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown))
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
