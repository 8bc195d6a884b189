"""What went wrong between here and an archive, as one sentence, or as something to try again.

The libraries' own messages hold whole URLs, and these may hold patients' names: none is repeated.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from CovidLesionSegLogic.batch.pacs.address import Address
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP answers (RFC 9110, 6585, 8470) after which the same request may succeed."""
LONGEST_WAIT = 30.0


class PassingError(Exception):
    """Something that may be otherwise at the next attempt; the text says what, in a few words."""


def explain(error: Exception, address: Address, absent: CovidLesionSegError) -> CovidLesionSegError:
    """The sentence for a lasting failure; ``absent`` is the one for HTTP 404.

    Raises
    ------
    PassingError
        When another attempt may succeed.
    """
    import requests

    if isinstance(error, PassingError):
        raise error
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _status(error.response.status_code, address, absent)
    if isinstance(error, requests.exceptions.SSLError):
        return _tls(error, address)
    if isinstance(error, requests.exceptions.ProxyError):
        return RequestError(
            f"The proxy on the way to {address} does not answer: check HTTPS_PROXY and NO_PROXY."
        )
    if isinstance(error, requests.TooManyRedirects):
        return RequestError(
            f"{address} leads to another address, where credentials are not sent: give the address "
            "at which the archive itself answers."
        )
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return _connection(error, address)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        raise PassingError("the connection was cut")
    return not_dicomweb(address)


def not_dicomweb(address: Address) -> RequestError:
    """What answers at the address is no DICOMweb service."""
    return RequestError(
        f"What answers at {address} is not DICOMweb: check the path of the address, which ends "
        "with /dicom-web in many archives."
    )


def wait_asked_for(error: Exception) -> float:
    """Seconds that the archive asks to wait (Retry-After), at most 30; 0 where it asks nothing."""
    response = getattr(error, "response", None)
    text = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(text), LONGEST_WAIT) if text.isdecimal() else 0.0


def _status(status: int, address: Address, absent: CovidLesionSegError) -> CovidLesionSegError:
    if status in PASSING:
        raise PassingError(f"it answered {named(status)}")
    if status == HTTPStatus.UNAUTHORIZED:
        return RequestError(
            f"{address} refuses the credentials, or wants some (HTTP 401): check user and password "
            "or the token."
        )
    if status == HTTPStatus.FORBIDDEN:
        return RequestError(
            f"{address} does not allow this with these credentials (HTTP 403): ask for the right "
            "to search, fetch or store."
        )
    if status == HTTPStatus.NOT_FOUND:
        return absent
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return RequestError(
            f"It is too much for {address} (HTTP 413): narrow the query or, in storing, have the "
            "archive's limit raised."
        )
    return RequestError(
        f"{address} refuses the request ({named(status)}): check the query and what the archive "
        "supports."
    )


def named(status: int) -> str:
    """An HTTP status with the standard's words for it; the server's may hold anything."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _tls(error: Exception, address: Address) -> RequestError:
    if any("CERTIFICATE_VERIFY_FAILED" in str(one) for one in _causes(error)):
        return RequestError(
            f"The certificate of {address} cannot be verified: have it mended or, where your "
            "institution signs its own, name its CA file in REQUESTS_CA_BUNDLE."
        )
    return RequestError(
        f"No encrypted connection to {address} comes about (TLS): check that the port serves https."
    )


def _connection(error: Exception, address: Address) -> RequestError:
    causes = list(_causes(error))
    if any(isinstance(one, ConnectionRefusedError) for one in causes):
        return RequestError(
            f"Nothing answers at {address} (connection refused): check host and port, and whether "
            "the archive runs."
        )
    if any(isinstance(one, socket.gaierror) for one in causes):
        return RequestError(f"The host of {address} is not known: check its name.")
    if any(type(one).__name__ == "LocationParseError" for one in causes):
        return RequestError(f"The host of {address} has no valid name: check it.")
    import requests

    if isinstance(error, requests.Timeout) or any(isinstance(one, TimeoutError) for one in causes):
        raise PassingError("it did not answer in time")
    raise PassingError("the connection was cut")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps."""
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
