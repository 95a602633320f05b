"""The public face: exact names, documented, and rules about the code that no linter checks."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import asyncembed

PACKAGE = Path(asyncembed.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
SANS_IO = [
    "_preview.py",
    *sorted(
        path.relative_to(PACKAGE).as_posix()
        for package in ("_decide", "_parser")
        for path in (PACKAGE / package).glob("*.py")
    ),
    *(f"_http/{name}.py" for name in ("blamed_fields", "error_answer", "error_body", "headers")),
]
PUBLIC = {
    "APIStatusError",
    "ArrowStreamReader",
    "AsyncEmbedError",
    "AuthenticationError",
    "BatchSplit",
    "BudgetExceededError",
    "Callback",
    "CheckResult",
    "ClientSpec",
    "ConfigurationError",
    "Dtype",
    "EmbedClient",
    "EmbedFailure",
    "EmbedInput",
    "EmbedOptions",
    "EmbedOptionsArgs",
    "EmbedResponse",
    "EmbedResult",
    "EmbedStream",
    "EmbedTimeoutError",
    "Encoding",
    "EncodingSettled",
    "EndpointPaused",
    "Estimate",
    "Event",
    "FormatName",
    "Found",
    "InputsFailed",
    "InvalidInputError",
    "Layout",
    "Limits",
    "Matrix",
    "MemoryMonitor",
    "Model",
    "ModelNotFoundError",
    "NumpyStreamReader",
    "OnError",
    "OpenTelemetryEvents",
    "PROVIDERS",
    "Provider",
    "TextLike",
    "Texts",
    "QueryJoined",
    "QuotaExceededError",
    "RateLimit",
    "RateLimitError",
    "RechunkedReader",
    "RequestEnded",
    "RequestProbed",
    "RequestOptions",
    "RequestStarted",
    "RequestsThrottled",
    "ResponseError",
    "ResumeError",
    "RetryPolicy",
    "RetryScheduled",
    "RunEnded",
    "RunSummary",
    "ServerError",
    "Setting",
    "Sign",
    "StreamClosedError",
    "StreamingEmbedResponse",
    "SyncEmbedder",
    "Scalar",
    "SyncStream",
    "Timeouts",
    "Tokenizer",
    "TransportError",
    "Usage",
    "Vector",
    "__version__",
    "search",
    "embed_array",
}
CLASSES = [getattr(asyncembed, name) for name in sorted(PUBLIC) if inspect.isclass(getattr(asyncembed, name, None))]


def test_the_public_names_are_exactly_these():
    """A name more or less is a decision, not an accident."""
    assert len(asyncembed.__all__) == len(set(asyncembed.__all__))
    assert set(asyncembed.__all__) == PUBLIC
    assert all(hasattr(asyncembed, name) for name in PUBLIC)


def test_nothing_else_is_public():
    """But the modules themselves."""
    modules = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])}
    others = {name for name in vars(asyncembed) if not name.startswith("_")} - PUBLIC - modules
    assert not others - {"annotations", "TYPE_CHECKING"}


def members(kind: type) -> list[str]:
    """Public methods and properties that the class defines itself."""
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property | classmethod))
    ]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_class_and_method_is_documented(kind):
    """In a sentence at least, and not by what a dataclass makes up."""
    assert inspect.getdoc(kind)
    assert not kind.__doc__.startswith(f"{kind.__name__}(")
    for name in members(kind):
        documented = inspect.getdoc(getattr(kind, name))
        assert documented, f"{kind.__name__}.{name}"
        assert documented.split("\n")[0].endswith((".", ":")), f"{kind.__name__}.{name}"


def test_every_argument_of_a_public_constructor_is_documented():
    """By name, in `Args:`; values and exceptions have attributes instead."""
    kinds = [kind for kind in CLASSES if not hasattr(kind, "__dataclass_fields__") and not issubclass(kind, Exception)]
    constructors = {kind: vars(kind)["__init__"] for kind in kinds if "__init__" in vars(kind)}
    assert asyncembed.EmbedClient in constructors
    for kind, constructor in constructors.items():
        for name in list(inspect.signature(constructor).parameters)[1:]:
            assert f"{name}: " in kind.__doc__, f"{kind.__name__}: {name}"


def test_the_version_is_the_packages_own():
    """Three numbers."""
    assert [part.isdigit() for part in asyncembed.__version__.split(".")] == [True] * 3


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_async_generator_holds_a_context_open(path):
    """A `yield` inside a task group or cancel scope cancels the wrong task when the consumer leaves."""
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(function, ast.AsyncFunctionDef) and has_yield(function) and not is_context_manager(function):
            contexts = [node for node in own_nodes(function) if isinstance(node, ast.With | ast.AsyncWith)]
            assert not [node for node in contexts if isinstance(node, ast.AsyncWith)], function.name
            assert not [node for node in contexts if "anyio" in ast.unparse(node)], function.name


def own_nodes(function: ast.AsyncFunctionDef) -> list[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    nodes, waiting = [], list(function.body)
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return nodes


def has_yield(function: ast.AsyncFunctionDef) -> bool:
    return any(isinstance(node, ast.Yield) for node in own_nodes(function))


def is_context_manager(function: ast.AsyncFunctionDef) -> bool:
    return any("contextmanager" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_that_rule_finds_what_it_looks_for():
    """Otherwise it could pass for ever."""
    bad = "async def f():\n    async with anyio.create_task_group():\n        yield 1\n"
    (function,) = ast.parse(bad).body
    assert has_yield(function)
    assert any(isinstance(node, ast.AsyncWith) for node in own_nodes(function))
    (function,) = ast.parse("async def f():\n    def g():\n        yield 1\n").body
    assert not has_yield(function)


def imports(path: Path) -> set[str]:
    """First parts of the names of all modules a file imports, for type checking or not."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SANS_IO)
def test_the_sans_io_core_knows_no_sockets(path):
    """So it can be tested, and used, without any."""
    assert not imports(PACKAGE / path) & {"aiohttp", "asyncio", "anyio", "socket", "ssl", "http", "urllib"}


def test_importing_needs_no_optional_package():
    """Nor does it start anything: no event loop, no thread, no network library of an extra."""
    code = (
        "import sys, threading, asyncembed;"
        "extras = {'pyarrow', 'model2vec', 'typer', 'rich', 'safetensors', 'tokenizers', 'opentelemetry',"
        "'langchain_core', 'llama_index', 'pydantic', 'pydantic_ai', 'daft', 'ray', 'pyspark', 'psycopg', 'lancedb'};"
        "extras &= set(sys.modules);"
        "assert not extras, extras; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=PACKAGE.parent)


def test_every_module_says_what_it_is_for():
    """In its first line."""
    for path in SOURCES:
        if path.name not in {"_version.py", "__main__.py"}:
            assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_modules_can_be_imported_one_by_one():
    """In any order: there is no circle."""
    for name in (
        "_decide.signs",
        "_core.source",
        "_parser.parser",
        "providers",
        "_core.memory",
        "_config",
        "_exceptions",
    ):
        subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import asyncembed.{name}"], check=True, cwd=PACKAGE.parent
        )


TESTS = Path(__file__).parent
MAX_PRIVATE_MODULES = 25
"""Each one more is one whose refactoring breaks tests of what did not change."""


def private_modules(code: str) -> set[str]:
    """Our modules that a file names, in imports or in strings, and that nobody else may import."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            named |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named |= set(re.findall(r"\basyncembed(?:\.\w+)+", node.value))
    modules = {module_of(name) for name in named if name.split(".")[0] == "asyncembed"}
    return {module for module in modules if re.search(r"\._(?!_)", module)}


def module_of(name: str) -> str:
    """The module in a dotted name, which may go on with what is in it."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return name if path.is_dir() or path.with_suffix(".py").is_file() else module_of(name.rpartition(".")[0])


def test_tests_use_the_front_doors():
    """What is public, and few modules that are not: the `__init__` of private packages, and modules outside them."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("*.py")):
        if path != Path(__file__):
            for module in private_modules(path.read_text("utf-8")):
                found.setdefault(module, []).append(path.relative_to(TESTS).as_posix())
    listed = "\n".join(f"{module}: {', '.join(files)}" for module, files in sorted(found.items()))
    assert len(found) <= MAX_PRIVATE_MODULES, f"tests use {len(found)} private modules:\n{listed}"


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("from asyncembed._core.memory import MemoryBudget", {"asyncembed._core.memory"}),
        ("from asyncembed._core import memory, MemoryBudget", {"asyncembed._core.memory", "asyncembed._core"}),
        ("from asyncembed import _ratelimit as rate, EmbedClient", {"asyncembed._ratelimit"}),
        ("import asyncembed.cli._app", {"asyncembed.cli._app"}),
        ("monkeypatch.setattr('asyncembed._to_file.LIMIT', 3)", {"asyncembed._to_file"}),
        ("importlib.import_module('asyncembed.sinks._table')", {"asyncembed.sinks._table"}),
        ("from asyncembed import EmbedClient, __version__, testing", set()),
        ("from asyncembed.cli import main", set()),
    ],
)
def test_that_count_finds_what_it_looks_for(code, modules):
    assert private_modules(code) == modules


@pytest.mark.parametrize("package", ["_core", "_decide", "_http", "_parser"])
def test_the_init_of_a_package_names_what_other_modules_use(package):
    """And nothing for the sake of tests."""
    used: set[str] = set()
    for path in SOURCES:
        if path.relative_to(PACKAGE).parts[0] != package:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"asyncembed.{package}"):
                    used |= {alias.name for alias in node.names}
    init = importlib.import_module(f"asyncembed.{package}")
    assert not set(init.__all__) - used
