"""Tokens into expressions and SELECTs: a recursive descent, one method per level of binding. Pure.

`statements` builds the rest of SQL on it. What it does not know is refused as unsupported or as a syntax error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ingest.practice.store import syntax as s
from ingest.practice.store.errors import Refusal, bad, unsupported
from ingest.practice.store.lexer import Token, at_fault, tokens_of
from ingest.practice.store.types import DataType

Part = TypeVar("Part")

COMPARISONS = ("=", "<>", "!=", "<", "<=", ">", ">=")
# Words that end an expression or a relation, so that they are no alias.
ENDING = (
    "from where group having order limit offset union join on inner left right full cross using as and or not in is like ilike "
    "between then else end when desc asc nulls set do conflict select filter fetch except intersect"
)
RESERVED = frozenset(ENDING.split())
TYPE_WORDS = {
    "boolean": "boolean", "text": "text", "string": "text", "varchar": "text", "char": "character", "character": "character",
    "byte": "byte", "smallint": "smallint", "short": "smallint", "int2": "smallint", "integer": "integer", "int": "integer",
    "int4": "integer", "bigint": "bigint", "long": "bigint", "int8": "bigint", "real": "real", "float4": "real", "float": "real",
    "double": "double precision", "float8": "double precision", "numeric": "numeric", "decimal": "numeric",
    "timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone", "object": "object",
    "geo_point": "geo_point", "geo_shape": "geo_shape", "ip": "ip", "uuid": "uuid", "bit": "bit", "float_vector": "float_vector",
}  # fmt: skip
NOT_STORABLE = ("date", "time", "timetz", "interval", "json", "jsonb", "bytea")


class Parser:
    """A place in a list of tokens."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._tokens = tokens_of(sql)
        self._at = 0
        self._params = 0

    # ------------------------------------------------------------ tokens

    @property
    def token(self) -> Token:
        return self._tokens[self._at]

    def is_at(self, *words: str) -> bool:
        """Whether the next tokens are these words or marks."""
        ahead = self._tokens[self._at : self._at + len(words)]
        return len(ahead) == len(words) and all(
            t.kind in ("word", "mark") and t.text == w for t, w in zip(ahead, words, strict=True)
        )

    def take(self, *words: str) -> bool:
        """Pass these words if they are next."""
        if not self.is_at(*words):
            return False
        self._at += len(words)
        return True

    def need(self, *words: str) -> None:
        for word in words:
            if not self.take(word):
                raise self.wrong(f"expecting '{word.upper()}'")

    def wrong(self, expecting: str = "") -> Refusal:
        return at_fault(self.sql, self.token.at, f"mismatched input '{self.token.raw}' {expecting}".rstrip())

    def next(self) -> Token:
        token = self.token
        self._at += token.kind != "end"
        return token

    def name(self) -> str:
        if self.token.kind not in ("word", "quoted"):
            raise self.wrong("expecting an identifier")
        return self.next().text

    def number(self) -> int:
        if self.token.kind != "number":
            raise self.wrong("expecting a number")
        return int(self.next().text)

    def listed(self, part: Callable[[], Part]) -> tuple[Part, ...]:
        """One or more, with commas between."""
        found = [part()]
        while self.take(","):
            found.append(part())
        return tuple(found)

    def in_parens(self, part: Callable[[], Part]) -> tuple[Part, ...]:
        self.need("(")
        found = self.listed(part)
        self.need(")")
        return found

    def relation(self) -> s.Relation:
        first = self.name()
        return s.Relation(self.name(), first) if self.take(".") else s.Relation(first)

    # ------------------------------------------------------------ expressions, loosest binding first

    def expression(self) -> s.Expression:
        left = self._conjunction()
        while self.take("or"):
            left = s.Binary("or", left, self._conjunction())
        return left

    def _conjunction(self) -> s.Expression:
        left = self._negation()
        while self.take("and"):
            left = s.Binary("and", left, self._negation())
        return left

    def _negation(self) -> s.Expression:
        return s.Unary("not", self._negation()) if self.take("not") else self._test()

    def _test(self) -> s.Expression:
        left = self._sum()
        while True:
            if self.token.kind == "mark" and self.token.text in COMPARISONS:
                left = self._comparison(left)
            elif self.take("is"):
                negated = self.take("not")
                self.need("null")
                left = self._unless(negated, s.IsNull(left))
            elif (
                self.is_at("not", "in") or self.is_at("not", "like") or self.is_at("not", "ilike") or self.is_at("not", "between")
            ):
                self.need("not")
                left = s.Unary("not", self._membership(left))
            elif any(self.is_at(word) for word in ("in", "like", "ilike", "between")):
                left = self._membership(left)
            else:
                return left

    def _unless(self, negated: bool, test: s.Expression) -> s.Expression:
        return s.Unary("not", test) if negated else test

    def _comparison(self, left: s.Expression) -> s.Expression:
        operator = self.next().text.replace("!=", "<>")
        if self.take("any"):
            self.need("(")
            array = self.expression()
            self.need(")")
            return s.AnyOf(operator, left, array)
        return s.Binary(operator, left, self._sum())

    def _membership(self, left: s.Expression) -> s.Expression:
        if self.take("in"):
            if self.is_at("(", "select"):
                raise unsupported("IN with a subquery")
            return s.In(left, self.in_parens(self.expression))
        if self.take("between"):
            low = self._sum()
            self.need("and")
            return s.Binary("and", s.Binary(">=", left, low), s.Binary("<=", left, self._sum()))
        ignores_case = self.next().text == "ilike"
        return s.Like(left, self._sum(), ignores_case)

    def _sum(self) -> s.Expression:
        left = self._product()
        while self.token.kind == "mark" and self.token.text in ("+", "-", "||"):
            left = s.Binary(self.next().text, left, self._product())
        return left

    def _product(self) -> s.Expression:
        left = self._factor()
        while self.token.kind == "mark" and self.token.text in ("*", "/", "%"):
            left = s.Binary(self.next().text, left, self._factor())
        return left

    def _factor(self) -> s.Expression:
        if self.take("-"):
            of = self._factor()
            return s.Literal(-of.value) if isinstance(of, s.Literal) and isinstance(of.value, int | float) else s.Unary("-", of)
        self.take("+")
        found = self._primary()
        while True:
            if self.take("::"):
                found = s.Cast(found, self.type())
            elif self.take("["):
                found = s.Subscript(found, self.expression())
                self.need("]")
            else:
                return found

    def _primary(self) -> s.Expression:
        token = self.token
        if token.kind == "string":
            return s.Literal(self.next().text)
        if token.kind == "number":
            text = self.next().text
            return s.Literal(int(text) if text.isdigit() else float(text))
        if token.kind == "param":
            return self._param(self.next().text)
        if token.kind == "quoted":
            return self._named(self.next().text)
        if self.take("("):
            found = s.Subquery(self.select()) if self.is_at("select") else self.expression()
            self.need(")")
            return found
        if self.take("["):
            return self._array("]")
        if token.kind != "word" or token.text in RESERVED:
            raise self.wrong()
        return self._word()

    def _param(self, text: str) -> s.Param:
        if text != "?":
            return s.Param(int(text[1:]) - 1)
        self._params += 1
        return s.Param(self._params - 1)

    def _array(self, end: str) -> s.Array:
        items = () if self.is_at(end) else self.listed(self.expression)
        self.need(end)
        return s.Array(items)

    def _word(self) -> s.Expression:
        word = self.next().text
        if word in ("true", "false", "null"):
            return s.Literal({"true": True, "false": False, "null": None}[word])
        if word == "case":
            return self._case()
        if word in ("cast", "try_cast") and self.take("("):
            return self._cast(is_try=word == "try_cast")
        if word == "array" and self.take("["):
            return self._array("]")
        if word in ("current_timestamp", "now") and not self.is_at("("):
            return s.Call("current_timestamp")
        if word in ("timestamp", "timestamptz") and self.token.kind == "string":
            return s.Cast(s.Literal(self.next().text), DataType("timestamp with time zone"))
        return self._call(word) if self.take("(") else self._named(word)

    def _named(self, first: str) -> s.Expression:
        if not self.take("."):
            return s.Name(first)
        name = self.name()
        while self.take("."):
            name = self.name()
        return s.Name(name, first)

    def _case(self) -> s.Case:
        operand = None if self.is_at("when") else self.expression()
        whens = []
        while self.take("when"):
            test = self.expression()
            self.need("then")
            whens.append((test, self.expression()))
        default = self.expression() if self.take("else") else None
        self.need("end")
        return s.Case(operand, tuple(whens), default)

    def _cast(self, *, is_try: bool) -> s.Cast:
        of = self.expression()
        self.need("as")
        type_ = self.type()
        self.need(")")
        return s.Cast(of, type_, is_try)

    def _call(self, name: str) -> s.Call:
        if self.take("*"):
            self.need(")")
            return s.Call(name, is_star=True, filter=self._filter())
        is_distinct = self.take("distinct")
        args = () if self.is_at(")") else self.listed(self.expression)
        self.need(")")
        return s.Call(name, args, is_distinct=is_distinct, filter=self._filter())

    def _filter(self) -> s.Expression | None:
        if not self.take("filter"):
            return None
        self.need("(", "where")
        test = self.expression()
        self.need(")")
        return test

    # ------------------------------------------------------------ types

    def type(self) -> DataType:
        found = self._array_type() if self.take("array") else self._plain_type()
        while self.take("[", "]"):
            found = DataType("array", element=found)
        return found

    def _array_type(self) -> DataType:
        self.need("(")
        element = self.type()
        self.need(")")
        return DataType("array", element=element)

    def _plain_type(self) -> DataType:
        word = self.name()
        if word in NOT_STORABLE:
            raise Refusal(400, 4004, "UnsupportedFeatureException", f"Type `{word}` does not support storage")
        if word not in TYPE_WORDS:
            raise bad(f"Cannot find data type: {word}")
        name = TYPE_WORDS[word]
        if word == "timestamp" and (self.take("with", "time", "zone") or not self.take("without", "time", "zone")):
            name = "timestamp with time zone"
        if word == "double":
            self.take("precision")
        if word == "character" and self.take("varying"):
            name = "text"
        return self._object_type() if name == "object" else self._with_size(name)

    def _with_size(self, name: str) -> DataType:
        sizes = self.in_parens(self.number) if self.take_size(name) else ()
        if name == "numeric":
            scale = sizes[1] if len(sizes) > 1 else 0
            return DataType(name, precision=sizes[0], scale=scale) if sizes else DataType(name)
        return DataType(name, length=sizes[0] if sizes else None)

    def take_size(self, name: str) -> bool:
        return self.is_at("(") and name in ("text", "character", "numeric", "bit", "float_vector")

    def _object_type(self) -> DataType:
        policy = self.in_parens(self.name)[0] if self.is_at("(") else "dynamic"
        fields: dict[str, Any] = {}
        if self.take("as"):
            fields = dict(self.in_parens(lambda: (self.name(), self.type())))
        return DataType("object", fields=fields, policy=policy)

    # ------------------------------------------------------------ select

    def select(self) -> s.Select:
        self.need("select")
        is_distinct = self.take("distinct")
        shown = self.listed(self._shown)
        source, alias = self._source() if self.take("from") else (None, "")
        where = self.expression() if self.take("where") else None
        group = self.listed(self.expression) if self.take("group", "by") else ()
        having = self.expression() if self.take("having") else None
        order = self.listed(self._order) if self.take("order", "by") else ()
        limit = self.expression() if self.take("limit") else None
        offset = self.expression() if self.take("offset") else None
        if any(self.is_at(word) for word in ("union", "except", "intersect", "fetch")):
            raise unsupported(self.token.raw.upper())
        return s.Select(shown, source, alias, where, group, having, order, limit, offset, is_distinct)

    def _shown(self) -> s.Shown:
        if self.take("*"):
            return s.Shown(None)
        return s.Shown(self.expression(), self._alias())

    def _alias(self) -> str:
        if self.take("as"):
            return self.name()
        is_name = self.token.kind == "quoted" or (self.token.kind == "word" and self.token.text not in RESERVED)
        return self.next().text if is_name else ""

    def _source(self) -> tuple[s.Relation | s.Select, str]:
        if self.take("("):
            source: s.Relation | s.Select = self.select()
            self.need(")")
        else:
            source = self.relation()
        if self.is_at("("):
            raise unsupported("a table function")
        alias = self._alias()
        if self.is_at(",") or any(self.is_at(word) for word in ("join", "inner", "left", "right", "full", "cross")):
            raise unsupported("a join")
        return source, alias

    def _order(self) -> s.Order:
        expression = self.expression()
        is_descending = not self.take("asc") and self.take("desc")
        nulls_first = None
        if self.take("nulls"):
            nulls_first = self.take("first")
            if not nulls_first:
                self.need("last")
        return s.Order(expression, is_descending, nulls_first)
