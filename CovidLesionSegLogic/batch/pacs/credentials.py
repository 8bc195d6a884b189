"""Who asks an archive: user and password, or a token, kept out of all output."""

from __future__ import annotations

import configparser
import os
import stat
from base64 import b64encode
from pathlib import Path
from typing import NoReturn

from CovidLesionSegLogic.errors import RequestError

USER, PASSWORD, TOKEN = (
    f"COVIDLESIONSEG_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN")
)
SECTION = "dicomweb"
MAX_BYTES = 65536


class Credentials:
    """User and password (RFC 7617) or bearer token (RFC 6750); empty for an open archive.

    Neither ``repr`` nor any message shows what it holds.

    Raises
    ------
    RequestError
        Half of a pair, both kinds at once, or characters that no header can carry.
    """

    __slots__ = ("_header",)

    def __init__(
        self, *, user: str | None = None, password: str | None = None, token: str | None = None
    ) -> None:
        if token and (user or password):
            raise RequestError(
                "Credentials for the archive hold a token and a user or password: give the one or "
                "the other."
            )
        if bool(user) != bool(password):
            missing = "password" if user else "user"
            raise RequestError(f"Credentials for the archive lack the {missing}: give both.")
        self._header: str | None = None
        if user and password:
            if ":" in user or not (user + password).isprintable():
                raise RequestError(
                    "The archive's user holds a colon, or user or password a control character, "
                    "which cannot be sent: check them."
                )
            self._header = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
        elif token:
            if not token.isascii() or not token.isprintable() or " " in token:
                raise RequestError(
                    "The archive's token holds characters that no token has (a space or a line "
                    "break, for instance): copy it again, without the word Bearer."
                )
            self._header = f"Bearer {token}"

    @classmethod
    def load(cls, file: str | os.PathLike[str] | None = None) -> Credentials:
        """Read a credentials file or, without one, the environment's variables.

        The file is an INI file with a section ``[dicomweb]`` and the keys ``user`` and
        ``password``, or ``token``; spaces around a value do not count. On POSIX only its owner may
        have access to it.

        Raises
        ------
        RequestError
            The file cannot be read, is open to others, or holds something else.
        """
        if file is not None:
            values = _read(Path(file))
        else:
            names = {"user": USER, "password": PASSWORD, "token": TOKEN}
            values = {key: os.environ.get(name, "") for key, name in names.items()}
            # a token comes out of files and commands, which end with a line break
            values["token"] = values["token"].strip()
        return cls(
            user=values.get("user"), password=values.get("password"), token=values.get("token")
        )

    def header(self) -> str | None:
        """Value of the HTTP header Authorization; None for an open archive. A secret."""
        return self._header

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return self._header is not None

    def __repr__(self) -> str:
        kind = self._header.split()[0] if self._header else "none"
        return f"Credentials({kind})"


def _read(path: Path) -> dict[str, str]:
    """Keys and values of the file's section."""
    try:
        with path.open("rb") as stream:
            if os.name == "posix" and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise RequestError(
                    f"The credentials file {path} is open to other users: allow its owner only "
                    f"(chmod 600 {path})."
                )
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RequestError(
            f"The credentials file {path} cannot be read ({error.strerror or error}): check the "
            "path."
        ) from error
    if len(content) > MAX_BYTES:
        _refuse(path)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(content.decode("utf-8-sig"))
        values = dict(parser[SECTION])
    except (configparser.Error, UnicodeDecodeError, KeyError):
        _refuse(path)  # the parser's own message would quote the line
    if not values.keys() <= {"user", "password", "token"} or not any(values.values()):
        _refuse(path)
    return values


def _refuse(path: Path) -> NoReturn:
    raise RequestError(
        f"The credentials file {path} is not understood: it needs a line [{SECTION}] and below it "
        "lines 'user = ...' and 'password = ...', or one 'token = ...'."
    ) from None
