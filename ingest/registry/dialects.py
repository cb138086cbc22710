"""The two ways in which registries are asked for a schema and for the schemas that it refers to, and how all become one text.

Asks through a function that it is given; keeps nothing. Runs in the errand thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

from ingest.errors import Reject, Retry
from ingest.registry import apicurio, protobuf_files
from ingest.registry.references import attach, inline

REFERENCES_AT_MOST = 200  # a registry that refers in circles must end
SERIALIZED: Final = "?format=serialized"

NO_SUCH_PATH: Final = "registry.unexpected_answer"

Reference = Mapping[str, Any]


class Answer(NamedTuple):
    """What a server answered. fields: the body's JSON object, {} where it is none. native: where the server's own API is."""

    body: str
    fields: Mapping[str, Any]
    headers: Mapping[str, str]
    native: str


class Ask(Protocol):
    def __call__(self, path: str, *, native: bool = False) -> Answer:
        """The answer of the first server that has one. native: the path is of Apicurio's own API."""


class Found(NamedTuple):
    """A schema as one file."""

    text: str
    schema_type: str
    references: Sequence[Reference] = ()


class Dialect(Protocol):
    def schema(self, schema_id: int | str) -> Found:
        """The schema of an id."""

    def referenced(self, reference: Reference, schema_type: str) -> Found:
        """The schema that a reference names."""


class Confluent:
    """Schema Registry, Karapace, Redpanda, and Apicurio where it answers like them."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def schema(self, schema_id: int | str) -> Found:
        kind = "ids" if isinstance(schema_id, int) else "guids"
        return self._found(f"/schemas/{kind}/{schema_id}")

    def referenced(self, reference: Reference, schema_type: str) -> Found:
        found = self._found(f"/subjects/{quote(str(reference['subject']), safe='')}/versions/{int(reference['version'])}")
        return found._replace(schema_type=schema_type)

    def _found(self, path: str) -> Found:
        answer = self._ask(path)
        found = Found(_text(answer), str(answer.fields.get("schemaType") or "AVRO"), tuple(answer.fields.get("references") or ()))
        return found._replace(text=self._serialized(path, found.text)) if found.schema_type == "PROTOBUF" else found

    def _serialized(self, path: str, text: str) -> str:
        """The file as a serialized descriptor; its source text where the registry cannot give one."""
        try:
            return _text(self._ask(path + SERIALIZED))
        except (Retry, Reject) as error:
            if error.code == NO_SUCH_PATH or isinstance(error, Reject):
                return text
            raise


class Apicurio:
    """Apicurio Registry's own API."""

    def __init__(self, ask: Ask, ids: apicurio.Ids) -> None:
        self._ask = ask
        self._ids = ids
        self._native = ""

    def schema(self, schema_id: int | str) -> Found:
        path = apicurio.path_of(schema_id, self._ids)
        answer = self._ask(f"{path}?returnArtifactType=true", native=True)
        self._native = answer.native
        schema_type = apicurio.schema_type(answer.body, answer.headers)
        return Found(answer.body, schema_type, self._references(f"{path}/references"))

    def referenced(self, reference: Reference, schema_type: str) -> Found:
        path = apicurio.version_path(reference, self._native)
        references = self._references(f"{path.removesuffix('/content')}/references")
        return Found(self._ask(path, native=True).body, schema_type, references)

    def _references(self, path: str) -> Sequence[Reference]:
        try:
            listed = json.loads(self._ask(path, native=True).body)
        except (ValueError, Reject):
            return ()
        except Retry as error:
            if error.code == NO_SUCH_PATH:  # releases before 2.3
                return ()
            raise
        return tuple(one for one in listed if isinstance(one, dict)) if isinstance(listed, list) else ()


def complete(schema_id: int | str, dialect: Dialect) -> tuple[str, str]:
    """The schema and all that it refers to as one text, and its type.

    AVRO: referenced types are written out where they are used first. JSON: referenced documents stand in the text under
    references.ATTACHED. PROTOBUF: see protobuf_files. Raises Reject("schema.malformed") and what asking raises.
    """
    try:
        found = dialect.schema(schema_id)
        if not found.references and found.schema_type != "PROTOBUF":
            return found.text, found.schema_type
        return _joined(found, _gathered(found, dialect)), found.schema_type
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # an answer of another shape than agreed
        raise Reject("schema.malformed", f"schema {schema_id} or one it refers to is not whole: mend the registry") from error


def _gathered(found: Found, dialect: Dialect) -> dict[str, str]:
    """The texts of all schemas that this one refers to, directly or not, by the name under which they are referred to."""
    waiting, texts = list(found.references), {}
    seen: set[tuple[str, ...]] = set()
    while waiting and len(seen) < REFERENCES_AT_MOST:
        reference = waiting.pop()
        place = tuple(str(reference.get(part)) for part in ("subject", "groupId", "artifactId", "version"))
        if place in seen:
            continue
        seen.add(place)
        other = dialect.referenced(reference, found.schema_type)
        texts[str(reference.get("name") or place)] = other.text
        waiting += other.references
    return texts


def _joined(found: Found, others: Mapping[str, str]) -> str:
    if found.schema_type == "AVRO":
        return inline(found.text, others.values())
    if found.schema_type == "PROTOBUF":
        return protobuf_files.bundle(found.text, others)
    return attach(found.text, others) if found.schema_type == "JSON" else found.text


def _text(answer: Answer) -> str:
    text = answer.fields.get("schema")
    if not isinstance(text, str):
        raise Retry(NO_SUCH_PATH, "the registry's answer has no schema in it: check its address")
    return text
