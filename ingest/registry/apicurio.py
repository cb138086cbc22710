"""Apicurio Registry's own API: where it is asked for a schema and its references, and what an answer means.

Addresses and answers only, pure; the asking is the client's. Version 2 of the API is there in releases 2 and 3 of the registry,
so it is the one that is asked, unless the configured address names version 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

Ids = Literal["auto", "content", "global"]

TYPE_HEADER: Final = "X-Registry-ArtifactType"
_NATIVE: Final = re.compile(r"(?P<root>.*)/apis/registry/v(?P<version>[0-9]+)")
_COMPATIBLE: Final = re.compile(r"(?P<root>.*)/apis/ccompat/v[0-9]+")
_PATHS: Final = {"global": "/ids/globalIds/", "content": "/ids/contentIds/"}
# A wrong path is answered with the framework's own exception, a missing artifact or content with one of the registry's.
_NOT_THERE: Final = re.compile(r"(Artifact|Content|Version|Group)NotFoundException")


def addresses(url: str) -> tuple[str, str]:
    """Where the API like Confluent's is, and where Apicurio's own would be.

    >>> addresses("http://h/apis/registry/v3")
    ('http://h/apis/ccompat/v7', 'http://h/apis/registry/v3')
    >>> addresses("http://h/apis/ccompat/v6")
    ('http://h/apis/ccompat/v6', 'http://h/apis/registry/v2')
    """
    if found := _NATIVE.fullmatch(url):
        return f"{found['root']}/apis/ccompat/v7", url
    found = _COMPATIBLE.fullmatch(url)
    return url, f"{found['root'] if found else url}/apis/registry/v2"


def path_of(schema_id: int | str, ids: Ids) -> str | None:
    """The path of a schema in Apicurio's own API; None for an id that the API like Confluent's knows.

    schema_id: a number, a GUID, or `global:N`, `content:N`, `wide:N` as the framing says. ids: what the settings say of numbers.

    >>> path_of("wide:7", "auto"), path_of(7, "auto"), path_of(7, "global")
    ('/ids/globalIds/7', None, '/ids/globalIds/7')
    """
    if isinstance(schema_id, int):
        return None if ids == "auto" else f"{_PATHS[ids]}{schema_id}"
    kind, colon, number = schema_id.partition(":")
    if not colon:
        return None
    if kind == "wide":
        kind = "global" if ids == "auto" else ids
    return f"{_PATHS[kind]}{number}"


def version_path(reference: Mapping[str, Any], native: str) -> str:
    """The path of the text that a reference names. native: the address, which says how content is asked for."""
    group, artifact, version = (quote(str(reference.get(part) or "default"), safe="") for part in _COORDINATES)
    path = f"/groups/{group}/artifacts/{artifact}/versions/{version}"
    return f"{path}/content" if native.endswith("/v3") else path


_COORDINATES: Final = ("groupId", "artifactId", "version")


def is_unknown(answer: Any) -> bool:
    """Whether a 404 says that there is no such schema, and not that there is no such path."""
    return isinstance(answer, dict) and _NOT_THERE.search(str(answer.get("name"))) is not None


def schema_type(text: str, headers: Mapping[str, str]) -> str:
    """What a text is, by the header that newer registries send, else by itself.

    >>> schema_type('{"type": "object"}', {}), schema_type('syntax = "proto3";', {})
    ('JSON', 'PROTOBUF')
    """
    if declared := headers.get(TYPE_HEADER):
        return declared.upper()
    try:
        node = json.loads(text)
    except ValueError:
        return "PROTOBUF"
    if isinstance(node, dict) and ("$schema" in node or "properties" in node or node.get("type") == "object"):
        return "JSON"
    return "AVRO"
