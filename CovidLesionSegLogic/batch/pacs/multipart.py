"""The one image in an answer of WADO-RS (PS3.18 8.6.1.2; RFC 2046 5.1, RFC 2387)."""

from __future__ import annotations

from email.message import Message

DICOM = "application/dicom"


def only_part(content_type: str, body: bytes) -> bytes:
    """The part of a multipart body, as it was sent; its headers are not looked at.

    Some archives send an image without parts, or in one without a boundary: then it is the body. A
    missing end is let by, as an image tells by itself whether it is whole.

    Raises
    ------
    ValueError
        The body is of another type, holds no part or several.
    """
    header = Message()
    header["Content-Type"] = content_type
    kind, boundary = header.get_content_type(), header.get_param("boundary")
    if kind == DICOM or (kind == "multipart/related" and boundary is None):
        return body
    if kind != "multipart/related" or not isinstance(boundary, str) or not boundary:
        raise ValueError("an answer of another type than multipart/related")
    mark = b"--" + boundary.encode()
    start = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if start == 1:
        raise ValueError("an answer without parts")
    begin = body.find(b"\r\n\r\n", start + len(mark)) + 4
    if begin == 3:
        raise ValueError("a part without an end of its headers")
    end = body.find(b"\r\n" + mark, begin)
    if end < 0:
        return body[begin:]
    rest = body[end + 2 + len(mark) :]
    if not rest.startswith(b"--") and rest.strip():
        raise ValueError("an answer of several parts")
    return body[begin:end]
