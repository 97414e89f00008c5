"""A page with the endpoints and fields, made from the OpenAPI description; it loads nothing from other hosts."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
_STYLE += "code{background:#eee;padding:0 .2em}td,th{text-align:left;padding:.1em 1em .1em 0;vertical-align:top}"


def docs_page(description: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Args:
        description: of an API, as in OpenAPI 3.
    """
    title = escape(description["info"]["title"])
    body = "".join(
        _operation(method, path, operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{escape(description['info'].get('description', ''))} "
        f'The same as <a href="openapi.json">OpenAPI</a>.</p>{body}</html>'
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{escape(text)}</td></tr>"
        for name, kind, text in _fields(operation)
    )
    answers = ", ".join(f"{status}: {escape(each['description'])}" for status, each in operation["responses"].items())
    table = f"<table>{rows}</table>" if rows else ""
    text = escape(operation.get("description", ""))
    return f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{text}</p>{table}<p>{answers}</p>"


def _fields(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    content = operation.get("requestBody", {}).get("content", {})
    for name, schema in content.get("multipart/form-data", {}).get("schema", {}).get("properties", {}).items():
        kind = "file" if schema.get("format") == "binary" else " | ".join(schema.get("enum", [schema["type"]]))
        yield name, kind, schema.get("description", "")
