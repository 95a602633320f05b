"""The Python of the README and of the cookbook runs as it stands and prints what stands below it."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

import asyncembed
from asyncembed import PROVIDERS, EmbedClient, EmbedOptionsArgs

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
COOKBOOK = ROOT / "examples" / "README.md"
DOCUMENTS = (README, COOKBOOK, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md")

BLOCK = re.compile(
    r"^## (?P<title>[^\n]+)$|^```python\n(?P<code>.*?)^```\n+(?:```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
ARGUMENT = re.compile(r"`(\w+)(?:\.(\w+))?\([^()`]*?(\w+)=\)`")


@dataclass(frozen=True)
class Recipe:
    """A block of Python.

    Attributes:
        title: The heading above it.
        line: Its first line in the document, from 1.
        code: The block.
        output: What the document says that it prints, None if it does not say.
    """

    title: str
    line: int
    code: str
    output: str | None


def recipes(document: Path) -> list[Recipe]:
    text, title, found = document.read_text("utf-8"), "", []
    for match in BLOCK.finditer(text):
        title = match["title"] or title
        if match["code"]:
            found.append(Recipe(title, text.count("\n", 0, match.start("code")) + 1, match["code"], match["output"]))
    return found


def needed(code: str) -> set[str]:
    """Return the packages that a block imports, and those that ours needs for it."""
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    is_local = "asyncembed.local" in names or 'EmbedClient("local"' in code
    return {name.partition(".")[0] for name in names} | ({"model2vec"} if is_local else set())


def skip_if_missing(code: str) -> None:
    for name in sorted(needed(code)):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


RECIPES = recipes(COOKBOOK)
PLAIN_RECIPES = [recipe for recipe in RECIPES if "async" not in recipe.code.replace("asyncembed", "")]
ASYNC_RECIPES = [recipe for recipe in RECIPES if recipe not in PLAIN_RECIPES]


def test_the_cookbook_covers_what_people_look_for() -> None:
    assert {recipe.title for recipe in RECIPES} >= {
        *("A pandas column", "A polars column", "A file that survives a crash", "A queue that never ends", "FastAPI"),
        *("Your own server", "Proxies and certificate authorities", "Rate limits", "Errors", "The fake server"),
        *("Bad texts and dead letters", "From the cohere SDK", "From the openai SDK"),
    }


@pytest.mark.parametrize("recipe", ASYNC_RECIPES, ids=[f"{recipe.title}-{recipe.line}" for recipe in ASYNC_RECIPES])
async def test_a_recipe_prints_what_it_says(recipe: Recipe, monkeypatch, tmp_path, capsys) -> None:
    skip_if_missing(recipe.code)
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "")  # so that its value is put back, whatever a recipe makes of it
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    source = "\n" * (recipe.line - 1) + recipe.code
    code = compile(source, str(COOKBOOK), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with warnings.catch_warnings():
        # Other packages warn of their own future; ours may not warn of anything.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(?!asyncembed)")
        running = eval(code, {"__name__": "recipe"})
        if running is not None:
            await running

    assert recipe.output is not None, "the cookbook does not say what this prints"
    assert capsys.readouterr().out == recipe.output


@pytest.mark.parametrize("recipe", PLAIN_RECIPES, ids=[recipe.title for recipe in PLAIN_RECIPES])
def test_a_recipe_of_plain_calls_prints_what_it_says(recipe: Recipe, environment, tmp_path) -> None:
    """In a process of its own, as its clients are closed when the process ends."""
    skip_if_missing(recipe.code)
    command = [sys.executable, "-W", "error", "-c", recipe.code]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == (recipe.output, "")


def test_the_readme_begins_with_a_program_that_runs_without_a_key(environment, tmp_path) -> None:
    [first] = recipes(README)
    skip_if_missing(first.code)
    keyless = {name: value for name, value in environment.items() if not name.endswith("_API_KEY")}
    command = [sys.executable, "-W", "error", "-c", first.code]
    run = subprocess.run(command, env=keyless, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)

    assert [line.partition(" ")[0] for line in run.stdout.splitlines()] == ["0", "1", "2"]
    assert all(line.endswith("(192,)") for line in run.stdout.splitlines())
    assert not run.stderr


def test_the_readme_names_every_provider_and_every_verb() -> None:
    text = README.read_text("utf-8")
    verbs = {name for name in vars(EmbedClient) if name.startswith("embed")} | {
        name for base in EmbedClient.__mro__ for name in vars(base) if name.startswith("embed")
    }
    assert len(verbs) >= 6
    assert [name for name in sorted(verbs) if f"client.{name}(" not in text] == []
    table = re.search(r"^\| name \| API \| key \|\n\|-.+\n((?:\|.+\n)+)", text, re.MULTILINE)
    names = {name for row in table[1].splitlines() for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    assert names == set(PROVIDERS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text("utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)
    for link in links:
        path, _, anchor = unquote(link).partition("#")
        assert (document.parent / path).exists(), link
        assert path or anchor in headings, link


def test_contributing_names_files_and_classes_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    modules = {path.relative_to(ROOT / "asyncembed").as_posix(): path for path in (ROOT / "asyncembed").rglob("*.py")}
    named = set(re.findall(r"(?<![\w/])(?:_?[a-z]+/)?_[a-z_]+\.py\b|(?<![\w/])_[a-z]+/[a-z_]+\.py\b", text))
    assert len(named) > 20
    assert sorted(named - set(modules)) == []
    source = "\n".join(path.read_text("utf-8") for path in modules.values())
    defined = set(re.findall(r"^(?:class )?(\w+)(?:: TypeAlias|[(:\[])", source, re.MULTILINE))
    terms = {term for code in re.findall(r"`([^`\n]+)`", text) for term in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", code)}
    assert sorted(terms - defined) == []
    for owner, method in re.findall(r"`([A-Z]\w+)\.(\w+)`", text):
        body = rf"^class {owner}\b.*\n(?:(?:[ )].*)?\n)*?    (?:async )?def {method}\("
        assert re.search(body, source, re.MULTILINE), f"{owner}.{method}"


@pytest.mark.parametrize("package", ["cohere", "openai"])
def test_the_tables_of_arguments_name_arguments_that_exist(package: str) -> None:
    pytest.importorskip(package)
    theirs, ours = tables()[package]
    classes = {"AsyncEmbeddings": "resources.AsyncEmbeddings"}
    for owner, method, name in theirs:
        kind = importlib.import_module(package)
        for part in classes.get(owner, owner).split("."):
            kind = getattr(kind, part)
        parameters = inspect.signature(getattr(kind, method or "__init__")).parameters
        assert name in parameters, f"{owner}.{method}({name}=)"
    for owner, method, name in ours:
        function = getattr(getattr(asyncembed, owner), method or "__init__")
        options = set() if not method else EmbedOptionsArgs.__optional_keys__
        assert name in {*inspect.signature(function).parameters, *options}, f"{owner}.{method}({name}=)"
    assert len(theirs) > 10
    assert len(ours) > 10


def tables() -> dict[str, tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]]:
    """Return, for each SDK, the arguments that its table names on the left and on the right."""
    found = {}
    for package, rows in re.findall(
        r"^\| (\w+) \| here \|\n\|---\|---\|\n((?:\|.*\n)+)", COOKBOOK.read_text("utf-8"), re.MULTILINE
    ):
        cells = [row.strip("| ").split(" | ", 1) for row in rows.splitlines()]
        left, right = (
            [match for cell in column for match in ARGUMENT.findall(cell)] for column in zip(*cells, strict=True)
        )
        found[package] = (left, right)
    return found
