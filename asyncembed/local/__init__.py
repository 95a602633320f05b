"""A small real embedding model behind the Cohere and OpenAI wire formats, on loopback and without a network.

Importing this costs nothing: model2vec is imported when a model is loaded.
"""

from asyncembed._public import publish
from asyncembed.local._model import LocalModel
from asyncembed.local._server import LocalServer

__all__ = ["LocalModel", "LocalServer"]

publish(__name__, [globals()[name] for name in __all__])
