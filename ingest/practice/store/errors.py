"""What the practice store refuses, in CrateDB's words and codes: one exception for a row and for a whole request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Refusal(Exception):
    """CrateDB's answer to what it does not take. kind: the name of its exception, part of the message it shows."""

    def __init__(self, status: int, code: int, kind: str, text: str) -> None:
        super().__init__(f"{kind}[{text}]")
        self.status = status
        self.code = code

    def shown(self) -> dict[str, Any]:
        return {"message": str(self), "code": self.code}


def bad(text: str) -> Refusal:
    """The commonest: a value, a name or a combination that makes no sense."""
    return Refusal(400, 4000, "SQLParseException", text)


def unparsable(text: str, line: int = 1, column: int = 1) -> Refusal:
    return Refusal(400, 4000, "ParsingException", f"line {line}:{column}: {text}")


def unsupported(what: str) -> Refusal:
    """What CrateDB may well do and this store does not."""
    text = f"{what} is beyond the ingest practice store, which is for trying only: a real CrateDB may take it"
    return Refusal(400, 4004, "UnsupportedFeatureException", text)


def not_castable(value: Any, type_: str) -> Refusal:
    return bad(f"Cannot cast value `{in_java(value)}` to type `{type_}`")


def in_java(value: Any) -> str:
    """A value as Java prints it in messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(in_java, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={in_java(part)}" for key, part in value.items()) + "}"
    return str(value)


def no_relation(name: str) -> Refusal:
    return Refusal(404, 4041, "RelationUnknown", f"Relation '{name}' unknown")


def no_function(name: str, known: Iterable[str]) -> Refusal:
    said = f"Unknown function: {name} (the ingest practice store has {', '.join(sorted(known))})"
    return Refusal(400, 4004, "UnsupportedFunctionException", said)


def no_schema(name: str) -> Refusal:
    return Refusal(404, 4045, "SchemaUnknownException", f"Schema '{name}' unknown")


def no_column(name: str) -> Refusal:
    return Refusal(404, 4043, "ColumnUnknownException", f"Column {name} unknown")


def no_partition(table: str) -> Refusal:
    return Refusal(404, 4046, "PartitionUnknownException", f"No partition for table '{table}' with ident '-' exists")


def no_document(key: Any) -> Refusal:
    return Refusal(404, 40411, "DocumentMissingException", f"[{in_java(key)}]: document missing")


def other_version(key: Any) -> Refusal:
    text = f"[{in_java(key)}]: version conflict, the document was changed by another request"
    return Refusal(409, 4092, "VersionConflictException", text)


def duplicate_key() -> Refusal:
    return Refusal(409, 4091, "DuplicateKeyException", "A document with the same primary key exists already")


def exists_already(name: str) -> Refusal:
    return Refusal(409, 4093, "RelationAlreadyExists", f"Relation '{name}' already exists.")


def not_updatable(column: str, why: str) -> Refusal:
    return Refusal(400, 4003, "ColumnValidationException", f"Validation failed for {column}: {why}")


def blocked(table: str, operation: str) -> Refusal:
    text = f'The relation "{table}" doesn\'t support or allow {operation} operations'
    return Refusal(400, 4007, "OperationOnInaccessibleRelationException", text)
