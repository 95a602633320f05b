"""A small real embedding model behind the wire formats of Cohere, OpenAI, Ollama and TEI, without a network.

Importing this package costs nothing: it imports model2vec when it loads a model.
"""

from asyncembed._public import publish
from asyncembed.local._model import LocalModel
from asyncembed.local._server import LocalServer

__all__ = ["LocalModel", "LocalServer"]

publish(__name__, [globals()[name] for name in __all__])
