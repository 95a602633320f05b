"""Which proxy the variables name: what curl, Go and requests each do, and that we do as two of them.

The columns were read from the sources of curl 8 (lib/url.c, lib/noproxy.c), of golang.org/x/net/http/httpproxy, and of
requests 2.34 with urllib.request. The column of requests is checked here against requests itself.
"""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asyncembed import ConfigurationError
from asyncembed._http.proxies import find_proxy

P, Q = "http://proxy:3128", "http://other:3128"
HTTP, HTTPS = "http://llm.example/v1", "https://llm.example/v1"
REFUSED = "refused"

# Address, variables, and the proxy that curl, Go and requests take; REFUSED is an error of theirs.
VARIABLES = [
    (HTTP, {}, None, None, None),
    (HTTP, {"http_proxy": P}, P, P, P),
    (HTTP, {"HTTP_PROXY": P}, None, P, P),
    (HTTP, {"http_proxy": P, "HTTP_PROXY": Q}, P, Q, P),
    (HTTP, {"http_proxy": "", "HTTP_PROXY": P}, None, P, None),
    (HTTP, {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None, REFUSED, None),
    (HTTP, {"http_proxy": P, "REQUEST_METHOD": "GET"}, P, REFUSED, P),
    (HTTP, {"HTTPS_PROXY": P}, None, None, None),
    (HTTPS, {"HTTP_PROXY": P, "http_proxy": P}, None, None, None),
    (HTTPS, {"https_proxy": P}, P, P, P),
    (HTTPS, {"HTTPS_PROXY": P}, P, P, P),
    (HTTPS, {"https_proxy": P, "HTTPS_PROXY": Q}, P, Q, P),
    (HTTPS, {"https_proxy": "", "HTTPS_PROXY": P}, P, P, None),
    (HTTPS, {"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P, P, P),
    (HTTP, {"all_proxy": P}, P, None, P),
    (HTTPS, {"ALL_PROXY": P}, P, None, P),
    (HTTPS, {"all_proxy": P, "ALL_PROXY": Q}, P, None, P),
    (HTTPS, {"all_proxy": "", "ALL_PROXY": P}, P, None, None),
    (HTTPS, {"https_proxy": P, "all_proxy": Q}, P, P, P),
    (HTTP, {"https_proxy": P, "all_proxy": Q}, Q, None, Q),
    (HTTPS, {"https_proxy": "", "all_proxy": P}, P, None, P),
    (HTTP, {"http_proxy": P, "no_proxy": "llm.example", "NO_PROXY": "other"}, None, P, None),
    (HTTP, {"http_proxy": P, "no_proxy": "", "NO_PROXY": "llm.example"}, None, None, None),
]

# The value of NO_PROXY, the address, and whether curl, Go and requests go without the proxy.
EXCEPTIONS = [
    ("*", HTTP, True, True, True),
    (" * ", HTTP, False, True, False),
    ("a.example,*", HTTP, False, True, False),
    ("llm.example", HTTP, True, True, True),
    ("LLM.Example", HTTP, True, True, True),
    ("llm.example", "http://LLM.EXAMPLE/v1", True, True, True),
    ("llm.example", "http://eu.llm.example/v1", True, True, True),
    ("llm.example", "http://notllm.example/v1", False, False, False),
    ("example", HTTP, True, True, True),
    (".llm.example", "http://eu.llm.example/v1", True, True, True),
    (".llm.example", HTTP, True, False, True),
    ("..llm.example", "http://eu.llm.example/v1", False, False, True),
    ("*.llm.example", "http://eu.llm.example/v1", False, True, False),
    ("*llm.example", HTTP, False, False, False),
    ("llm.example.", HTTP, True, False, False),
    ("llm.example", "http://llm.example./v1", True, False, False),
    ("llm.example.", "http://llm.example./v1", True, True, True),
    (".", HTTP, False, False, False),
    ("a.example,llm.example", HTTP, True, True, True),
    (" a.example , llm.example ", HTTP, True, True, True),
    (",,llm.example,", HTTP, True, True, True),
    ("llm.example a.example", HTTP, True, False, False),
    ("a.example;llm.example", HTTP, False, False, False),
    ("llm.example:8443", "https://llm.example:8443/v1", False, True, True),
    ("llm.example:8443", "https://eu.llm.example:8443/v1", False, True, True),
    ("llm.example:8443", "https://llm.example/v1", False, False, False),
    ("llm.example:443", "https://llm.example/v1", False, True, False),
    ("llm.example:443", "https://llm.example:443/v1", False, True, True),
    (".llm.example:8443", "https://llm.example:8443/v1", False, False, True),
    (".llm.example:8443", "https://eu.llm.example:8443/v1", False, True, True),
    ("http://llm.example", HTTP, False, False, False),
    ("10.1.2.3", "http://10.1.2.3:8000/v1", True, True, True),
    ("10.1.2.3", "http://10.1.2.30/v1", False, False, False),
    ("10.1.2.3:8000", "http://10.1.2.3:8000/v1", False, True, False),
    ("10.0.0.0/8", "http://10.1.2.3/v1", True, True, True),
    ("10.0.0.0/8", "http://11.1.2.3/v1", False, False, False),
    ("10.1.2.3/8", "http://10.9.9.9/v1", True, True, True),
    ("0.0.0.0/0", "http://10.1.2.3/v1", False, True, False),
    ("10.0.0.0/8", HTTP, False, False, False),
    ("10.", "http://10.1.2.3/v1", False, False, False),
    ("2001:db8::1", "http://[2001:db8::1]/v1", True, True, True),
    ("2001:DB8:0::1", "http://[2001:db8::1]/v1", True, True, False),
    ("2001:db8::/32", "http://[2001:db8::1]/v1", True, True, False),
    ("[2001:db8::1]", "http://[2001:db8::1]/v1", False, False, False),
    ("[2001:db8::1]:8000", "http://[2001:db8::1]:8000/v1", False, True, False),
    ("xn--mnchen-3ya.example", "http://xn--mnchen-3ya.example/v1", True, True, True),
]  # fmt: skip

# The value of HTTP_PROXY, and the proxy that curl, Go and requests connect to.
FORMS = [
    ("http://proxy:3128", P, P, P),
    ("HTTP://proxy:3128/", P, P, P),
    ("proxy:3128", P, P, REFUSED),
    ("//proxy:3128", REFUSED, REFUSED, P),
    ("http:proxy:3128", REFUSED, REFUSED, REFUSED),
    ("proxy", "http://proxy:1080", "http://proxy:80", "http://proxy:80"),
    ("http://proxy", "http://proxy:1080", "http://proxy:80", "http://proxy:80"),
    ("https://proxy", "https://proxy:443", "https://proxy:443", "https://proxy:443"),
    ("http://proxy:3128/path?query", P, P, P),
    ("[2001:db8::1]:3128", "http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
    ("http://user:secret-1@proxy:3128", P, P, P),
    ("user:secret-1@proxy:3128", P, P, REFUSED),
    ("http://", REFUSED, REFUSED, REFUSED),
    ("http://:3128", REFUSED, "http://localhost:3128", REFUSED),
    ("http://proxy:port", REFUSED, REFUSED, REFUSED),
    ("proxy:99999", REFUSED, REFUSED, REFUSED),
    ("http://[", REFUSED, REFUSED, REFUSED),
    ("http://a b:1", REFUSED, REFUSED, REFUSED),
]

# curl speaks every SOCKS, Go two of them, requests all but the first with an extra. None speaks ftp, quic or ws.
SCHEMES = ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5", "ftp", "quic", "ws"]

LOOPBACK = ["localhost", "LOCALHOST", "localhost.", "api.localhost", "127.0.0.1", "127.9.9.9", "127.1", "[::1]"]
LOOPBACK += ["[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"]


def majority(*said):
    """What two of three say; without a proxy nothing goes to one, and an error is as good as that."""
    found = [None if value == REFUSED else value for value in said]
    return next(value for value in found if found.count(value) > 1)


def found(address, environ):
    proxy = find_proxy(address, environ)
    return proxy and str(proxy.url)


@pytest.mark.parametrize(("address", "environ", "curl", "go", "requests"), VARIABLES)
def test_variables(address, environ, curl, go, requests):
    assert found(address, environ) == majority(curl, go, requests)


@pytest.mark.parametrize(("no_proxy", "address", "curl", "go", "requests"), EXCEPTIONS)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_exceptions(name, no_proxy, address, curl, go, requests):
    environ = {"http_proxy": P, "https_proxy": P, name: no_proxy}
    assert (found(address, environ) is None) is majority(curl, go, requests)


def test_what_is_said_of_requests_is_so(monkeypatch):
    """The column of requests in the tables."""
    requests, urllib3 = pytest.importorskip("requests"), pytest.importorskip("urllib3")

    def choice(address, environ):
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.upper().endswith("_PROXY") or name == "REQUEST_METHOD":
                    patch.delenv(name)
            for name, value in environ.items():
                patch.setenv(name, value)
            prepared = requests.Request("POST", address).prepare().url
            return requests.utils.select_proxy(prepared, requests.utils.get_environ_proxies(prepared))

    for address, environ, _, _, said in VARIABLES:
        assert choice(address, environ) == said, environ
    for no_proxy, address, _, _, said in EXCEPTIONS:
        assert (choice(address, {"http_proxy": P, "https_proxy": P, "no_proxy": no_proxy}) is None) is said, no_proxy
    adapter, prepared = requests.adapters.HTTPAdapter(), requests.Request("POST", HTTP).prepare()
    for value, _, _, said in FORMS:
        try:
            proxy = adapter.get_connection_with_tls_context(prepared, True, {"http": value}).proxy
        except (requests.RequestException, urllib3.exceptions.HTTPError):
            assert said == REFUSED, value
        else:
            assert f"{proxy.scheme}://{proxy.host}:{proxy.port}" == said


@pytest.mark.parametrize(("value", "curl", "go", "requests"), FORMS)
def test_forms_of_an_address(value, curl, go, requests):
    meant = majority(curl, go, requests)
    if meant is None:
        with pytest.raises(ConfigurationError, match=r"^HTTP_PROXY "):
            find_proxy(HTTP, {"HTTP_PROXY": value})
        return
    proxy = find_proxy(HTTP, {"HTTP_PROXY": value})
    url = URL(proxy.url)
    assert (f"{url.origin()}:{url.port}" if url.is_default_port() else str(url.origin())) == meant
    assert proxy.variable == "HTTP_PROXY"
    assert (proxy.user, proxy.password) == (("user", "secret-1") if "user" in value else (None, ""))
    assert "secret-1" not in repr(proxy)


def test_white_space_around_an_address_is_dropped():
    """As around a key; the three refuse it."""
    assert found(HTTP, {"HTTP_PROXY": f"  {P}\n"}) == P


def test_a_login_is_decoded():
    proxy = find_proxy(HTTP, {"http_proxy": "http://do%5Cmain:p%40ss%3A1@proxy"})
    assert (proxy.user, proxy.password) == ("do\\main", "p@ss:1")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_a_scheme_that_is_not_spoken(name, scheme):
    with pytest.raises(ConfigurationError, match=rf"^{name} .*{scheme}://") as caught:
        find_proxy(HTTP, {name: f"{scheme}://user:secret-1@proxy:1080"})
    assert "secret-1" not in str(caught.value)
    assert find_proxy(HTTP, {name: f"{scheme}://proxy:1080", "NO_PROXY": "llm.example"}) is None
    assert find_proxy("http://127.0.0.1:8000/v1", {name: f"{scheme}://proxy:1080"}) is None


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_never_reached_by_a_proxy(host):
    assert find_proxy(f"http://{host}:8000/v1", {"http_proxy": P, "all_proxy": P}) is None


@pytest.mark.parametrize("host", ["localhost.example", "127.0.0.1.example", "notlocalhost", "128.0.0.1", "1.127"])
def test_what_only_looks_like_this_machine(host):
    assert found(f"http://{host}/v1", {"http_proxy": P}) == P


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_stands_there(value, no_proxy):
    """A proxy of http or https, none, or one plain error without the password."""
    said = "http://"
    try:
        proxy = find_proxy(HTTP, {"HTTP_PROXY": value, "NO_PROXY": no_proxy})
        said = proxy.url if proxy else said
    except ConfigurationError as error:
        said = str(error)
    assert re.match(r"https?://|HTTP_PROXY ", said)
