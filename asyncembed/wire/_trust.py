"""Whose certificates are believed: those of the system, or of the file that an environment variable names.

A company's gateway that opens TLS on its way has a certificate authority of its own. OpenSSL reads `SSL_CERT_FILE` and
`SSL_CERT_DIR` itself; `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` are those of requests and curl, and count where the
others are not set.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncembed._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENSSL: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HTTP: Final = ["http/1.1"]


@dataclass(frozen=True, slots=True)
class Trust:
    """What certificates are checked with.

    Attributes:
        context: For aiohttp.
        source: Where the authorities come from, in words.
    """

    context: ssl.SSLContext
    source: str

    @property
    def advice(self) -> str:
        """What to say where a certificate is not believed."""
        return (
            f"certificates were checked against {self.source}; if a gateway of your own signs them, "
            f"let {OPENSSL[0]} or {BUNDLES[0]} name the file of its certificate authority"
        )


def load_trust(environ: Mapping[str, str]) -> Trust:
    """Read the certificates; this takes some 30 ms.

    Args:
        environ: The environment variables; OpenSSL looks up its own ones itself.

    Raises:
        ConfigurationError: if a variable names a file that cannot be read, or holds no certificates.
    """
    named = [name for name in OPENSSL if environ.get(name)]
    bundle = None if named else next((name for name in BUNDLES if environ.get(name)), None)
    if bundle:
        trust = Trust(_load(bundle, environ[bundle]), f"{bundle}={environ[bundle]}")
    else:
        own = [f"{name}={environ[name]}" for name in named]
        paths = ssl.get_default_verify_paths()
        system = f"the system's authorities ({paths.cafile or paths.openssl_cafile})"
        trust = Trust(ssl.create_default_context(), " and ".join(own) or system)
    trust.context.set_alpn_protocols(_HTTP)
    return trust


def _load(variable: str, path: str) -> ssl.SSLContext:
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError, too
        reason = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
    raise ConfigurationError(f"{variable}={path!r} {reason}")
