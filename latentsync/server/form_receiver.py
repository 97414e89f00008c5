"""Bodies of requests: fields, and files that are streamed to disk with a limit of their size."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from latentsync.jobs.folders import stored_name
from latentsync.server.api_error import ApiError

MAX_FIELDS_BYTES = 64 * 1024
"""All fields of a request together, without files."""
_MAX_FIELDS = 50
_MAX_NAME = 255


@dataclass(frozen=True)
class ReceivedFile:
    """A file of a form.

    Attributes:
        path: where it was stored.
        name: as the client named it.
    """

    path: Path
    name: str


@dataclass
class ReceivedForm:
    """Fields and files of a request; values of JSON keep their types."""

    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, ReceivedFile] = field(default_factory=dict)


class FormReceiver:
    """Parses a body that arrives in chunks; a context manager that closes open files.

    Args:
        content_type: header of the request: multipart/form-data or application/json.
        folder: where files are stored.
        file_fields: names of the fields that are files; a file is stored under the name of its field.
        max_file_bytes: maximum size of each file.

    Raises:
        ApiError: 415 for another content type, 400 for one that is invalid.
    """

    def __init__(self, content_type: str, folder: Path, file_fields: tuple[str, ...], max_file_bytes: int) -> None:
        self._folder, self._file_fields, self._max_file_bytes = folder, file_fields, max_file_bytes
        self._form = ReceivedForm()
        self._num_field_bytes = self._num_parts = 0
        self._headers: dict[str, str] = {}
        self._header, self._value, self._name, self._text = b"", b"", "", bytearray()
        self._file: BinaryIO | None = None
        self._is_complete = False
        try:
            kind, options = parse_options_header(content_type)
        except ValueError as error:
            raise ApiError(400, "the content type is not valid") from error
        self._kind = kind.decode("latin-1").lower()
        self._parser = self._parser_of(options)

    def __enter__(self) -> "FormReceiver":
        return self

    def __exit__(self, *error: object) -> None:
        self._close_file()

    def feed(self, chunk: bytes) -> None:
        """Parse the next part of the body.

        Raises:
            ApiError: 400 for an invalid body, 413 for one that is too large.
            OSError: a file cannot be written.
        """
        if self._parser is None:
            self._add_text(chunk)
            return
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ApiError(400, "the form is not valid") from error

    def form(self) -> ReceivedForm:
        """Return fields and files after the whole body was fed.

        Raises:
            ApiError: 400 for an incomplete or invalid body.
        """
        if self._parser is None:
            self._form.fields = _json_fields(bytes(self._text))
            return self._form
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise ApiError(400, "the form is not complete") from error
        if not self._is_complete:
            raise ApiError(400, "the form is not complete")
        return self._form

    def _parser_of(self, options: Mapping[bytes, bytes]) -> MultipartParser | None:
        if self._kind == "multipart/form-data":
            boundary = options.get(b"boundary", b"")
            if not 0 < len(boundary) <= 200:
                raise ApiError(400, "the form has no valid boundary")
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._on_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        if self._kind == "application/json":
            return None
        raise ApiError(415, "send multipart/form-data or application/json")

    def _begin_part(self) -> None:
        self._num_parts += 1
        if self._num_parts > _MAX_FIELDS:
            raise ApiError(400, f"the form has more than {_MAX_FIELDS} fields")
        self._headers.clear()
        self._header, self._value, self._text = b"", b"", bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def _open_part(self) -> None:
        try:
            _, options = parse_options_header(self._headers.get("content-disposition", "").encode("utf-8"))
        except ValueError as error:
            raise ApiError(400, "a part of the form is not valid") from error
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name in self._form.fields or self._name in self._form.files:
            raise ApiError(400, f"the form has two fields {self._name[:40]!r}")
        filename = options.get(b"filename")
        if self._name in self._file_fields:
            if filename is None:
                raise ApiError(400, f"{self._name} must be a file: use {self._name}_url or {self._name}_path otherwise")
            name = filename.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2][:_MAX_NAME]
            path = self._folder / stored_name(self._name, name)
            self._file = path.open("xb")
            self._form.files[self._name] = ReceivedFile(path, name or self._name)
        elif filename is not None:
            raise ApiError(400, f"{self._name[:40]!r} is a file, which is not expected")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            self._add_text(data[start:end])
        else:
            if self._file.tell() + end - start > self._max_file_bytes:
                raise ApiError(413, f"{self._name} has more than {self._max_file_bytes >> 20} MB, the maximum")
            self._file.write(data[start:end])

    def _end_part(self) -> None:
        if self._file is None:
            self._form.fields[self._name] = self._text.decode("utf-8", "replace")
        self._close_file()

    def _end(self) -> None:
        self._is_complete = True

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add_text(self, data: bytes) -> None:
        self._text += data
        self._num_field_bytes += len(data)
        if self._num_field_bytes > MAX_FIELDS_BYTES:
            raise ApiError(413, f"the fields of the request have more than {MAX_FIELDS_BYTES} bytes")


def _json_fields(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not valid JSON") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "the body is not a JSON object")
    return fields
