"""A connection to an archive: who asks, what is believed, and what is tried again."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from CovidLesionSegLogic.batch.pacs.address import Address, check_address
from CovidLesionSegLogic.batch.pacs.credentials import Credentials
from CovidLesionSegLogic.batch.pacs.failures import (
    PassingError,
    explain,
    not_dicomweb,
    wait_asked_for,
)
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import CovidLesionSegError, InputError, RequestError

T = TypeVar("T")
WAITS = (1.0, 3.0, 9.0)
"""Seconds before the second, third and last attempt."""
TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two arrivals of data."""
WHOLE_BODY = 1 << 31
"""Bytes sent with a stated length; beyond, in chunks, which some servers refuse."""

log = logging.getLogger(__name__)


class Connection:
    """A session with the DICOMweb service at ``url``; for one thread.

    Certificates are always checked, against the authorities in REQUESTS_CA_BUNDLE or
    CURL_CA_BUNDLE where one is named. Redirects are not followed, so that credentials and patient
    data go to the named address only. Proxies named in the environment are used, except to this
    machine itself; ``.netrc`` is not read.

    Raises
    ------
    RequestError
        The URL is not acceptable, a file named for certificates is missing, or the extra ``pacs``
        is not installed.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, waits: Sequence[float] = WAITS
    ) -> None:
        self.address: Address = check_address(url, credentials)
        try:
            from dicomweb_client import DICOMwebClient
            from requests import Session

            from CovidLesionSegLogic.batch.pacs.bounded import Bounded
        except ImportError as error:
            raise RequestError(
                f"Archives need dicomweb-client ({error}): install the extra 'pacs' "
                "(pip install 'covid-lesion-seg[pacs]')."
            ) from error
        _hush()
        self._session = Session()
        self._session.auth = _Finish(credentials)
        self._session.max_redirects = 0
        self._bounded = Bounded()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, self._bounded)
        # for the answers to storing, which otherwise come as XML from some archives
        self._session.headers["Accept"] = "application/dicom+json"
        # packing costs a server more time than it saves on images, compressed ones above all
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.verify = _authorities() or True
        self._session.trust_env = not self.address.loopback
        self.client: Any = DICOMwebClient(
            self.address.url,
            session=self._session,
            chunk_size=WHOLE_BODY,
            permissive_uid=True,
            timeout=TIMEOUT,
        )
        # Its own retries would also repeat what cannot succeed, and not a body that was cut.
        self.client.set_http_retry_params(retry=False)
        self._waits = tuple(waits)
        if self.address.url.startswith("http:") and not self.address.loopback:
            log.warning("%s is not encrypted: images go over the network in clear.", self.address)

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def get_image(self, study: str, series: str, instance: str) -> Any:
        """The archive's answer to the wish for an instance, by UIDs; to be used within a call."""
        from CovidLesionSegLogic.batch.pacs.bounded import IMAGE

        response = self._session.get(
            f"{self.address}/studies/{study}/series/{series}/instances/{instance}",
            headers={"Accept": IMAGE},
            timeout=TIMEOUT,
        )
        response.raise_for_status()
        return response

    def call(
        self,
        action: Callable[[], T],
        *,
        cancel: Cancel,
        absent: CovidLesionSegError | None = None,
    ) -> T:
        """What ``action`` returns, tried again a few times after passing failures.

        Parameters
        ----------
        action
            Asks through :attr:`client`; it may raise PassingError to be tried again.
        cancel
            Heeded before each attempt, while data come and while waiting.
        absent
            The error for HTTP 404; by default that the address is not DICOMweb.

        Raises
        ------
        RequestError
            Nothing can be had from this archive, or not with these credentials.
        InputError
            It failed as often as it was tried, or answers without end.
        CancelledError
            Stopping was asked for.
        """
        import requests
        from pydicom.errors import InvalidDicomError

        expected = (
            PassingError,
            requests.RequestException,
            InvalidDicomError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            EOFError,
            # numbers without end, JSON of many levels, XML that is none
            ArithmeticError,
            RecursionError,
            SyntaxError,
        )
        self._bounded.check = cancel.check
        why = ""
        for wait in (*self._waits, None):
            cancel.check()
            try:
                return action()
            except expected as error:
                try:
                    told = explain(error, self.address, absent or not_dicomweb(self.address))
                except PassingError as passing:
                    why, told = str(passing), None
                asked = wait_asked_for(error)
            if told is not None:
                raise told
            if wait is not None:
                log.debug("The archive: %s; trying again.", why)
                _pause(max(wait, asked), cancel)
        raise InputError(
            f"{self.address} failed {len(self._waits) + 1} times ({why}): try again later."
        )


class _Finish:
    """Called by ``requests`` for every request; its presence keeps ``.netrc`` unread."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: Any) -> Any:
        # dicomweb-client leaves the port out of the header Host; http.client sets it right
        request.headers.pop("Host", None)
        # A query may hold wildcards as they are (RFC 3986 3.4); Orthanc 1.10 knows them only so.
        base, _, query = request.url.partition("?")
        if query:
            request.url = f"{base}?{query.replace('%2A', '*').replace('%3F', '?')}"
        header = self._credentials.header()
        if header is not None:
            request.headers["Authorization"] = header
        return request


def _authorities() -> str | None:
    """The file or folder of trusted authorities that the environment names."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        value = os.environ.get(name)
        if value:
            if not Path(value).exists():
                raise RequestError(f"{value}, named in {name}, does not exist: check the path.")
            return value
    return None


def _hush() -> None:
    """Keep libraries from logging URLs, which hold what was searched for, or servers' texts."""
    for name in ("dicomweb_client", "urllib3", "requests", "retrying"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"dicomweb_client\b")


def _pause(seconds: float, cancel: Cancel) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        cancel.check()
        time.sleep(min(left, 0.1))
