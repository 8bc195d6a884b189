"""The address of an archive's DICOMweb service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from CovidLesionSegLogic.batch.pacs.credentials import Credentials
from CovidLesionSegLogic.errors import RequestError

EXAMPLE = "https://pacs.example.org/dicom-web"


@dataclass(frozen=True)
class Address:
    """Base URL without a slash at its end, and who it leads to; it holds no secret."""

    url: str
    host: str
    loopback: bool

    def __str__(self) -> str:
        return self.url


def check_address(url: str, credentials: Credentials) -> Address:
    """The base URL as parts.

    Raises
    ------
    RequestError
        It is no http(s) URL, holds a user, a password or a query, or would send credentials or
        images over a network unencrypted. A message shows no part of a URL that may be secret.
    """
    text = url.strip()
    if "@" in text:
        raise RequestError(
            "The archive's URL holds an @, as with a user and password in it: leave them out and "
            "give them by environment variables or a credentials file."
        )
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise RequestError(
            f"The archive's address is not a URL: give one like {EXAMPLE}."
        ) from None
    if parts.query or parts.fragment:
        raise RequestError(
            f"The archive's URL holds a ? or #: give only the base of the service, like {EXAMPLE}."
        )
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in text):
        raise RequestError(f"The archive's address is not a URL: give one like {EXAMPLE}.")
    loopback = _is_loopback(host)
    if parts.scheme == "http" and not loopback and credentials:
        raise RequestError(
            f"Credentials would go to {host} unencrypted over http: use the archive's https "
            "address."
        )
    return Address(text.rstrip("/"), host, loopback)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
