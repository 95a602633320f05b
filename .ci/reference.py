"""Build the API reference with pdoc: `python -W error .ci/reference.py FOLDER`.

Public names may say that they are of `asyncembed`, as users import them. pdoc reads the source and resolves annotations
where a name is defined, so the script tells it the modules that define them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import pdoc

import asyncembed
from asyncembed import ConfigurationError

DOCUMENTED = (
    "asyncembed",
    "asyncembed.arrow",
    "asyncembed.daft",
    "asyncembed.integrations.langchain",
    "asyncembed.integrations.llama_index",
    "asyncembed.integrations.pydantic_ai",
    "asyncembed.local",
    "asyncembed.otel",
    "asyncembed.parts",
    "asyncembed.providers",
    "asyncembed.ray",
    "asyncembed.readers",
    "asyncembed.stores",
    "asyncembed.testing",
    "asyncembed.testing.pytest_plugin",
)


def name_defining_modules() -> set[str]:
    """Set `__module__` of each class and function of the package to the module whose source defines it.

    Returns:
        The modules that can be imported: engines and frameworks may not be installed.
    """
    found = {"asyncembed"}
    for info in pkgutil.walk_packages(asyncembed.__path__, "asyncembed."):
        if info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ConfigurationError as error:
            print(f"left out: {error}", file=sys.stderr)  # noqa: T201
            continue
        found.add(info.name)
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name in vars(module):
                vars(module)[node.name].__module__ = module.__name__
    return found


if __name__ == "__main__":
    importable = name_defining_modules()
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*[name for name in DOCUMENTED if name in importable], output_directory=Path(sys.argv[1]))
