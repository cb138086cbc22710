"""Expressions compiled into functions over a scope: three-valued logic, types where they change what a comparison means.

A parameter that meets a type (a column's, a cast's) is cast once per entry, before any row is touched: so a bad value refuses
the whole request, as in CrateDB, while an expression over a stored row fails for that row alone. Pure.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ingest.practice.store import syntax as s
from ingest.practice.store.arithmetic import ARITHMETIC
from ingest.practice.store.errors import Refusal, bad, no_column, no_function, no_relation, unsupported
from ingest.practice.store.functions import SCALARS
from ingest.practice.store.types import BIGINT, BOOLEAN, DOUBLE, NUMERIC, OBJECT, TEXT, DataType, caster


class Scope(NamedTuple):
    """What an expression sees: the row, the row that was to be inserted, and the parameters as `Params` prepared them."""

    row: Mapping[str, Any]
    excluded: Mapping[str, Any]
    params: Sequence[Any]


Evaluate = Callable[[Scope], Any]


class Compiled(NamedTuple):
    """type None: not known (NULL, a bare parameter). is_constant: neither row nor parameter has a say."""

    of: Evaluate
    type: DataType | None
    is_constant: bool = False


class Params:
    """The parameters of a statement: which are used as what."""

    def __init__(self) -> None:
        self._slots: dict[tuple[int, DataType | None], int] = {}
        self._plan: list[tuple[int, Callable[[Any], Any] | None]] = []

    def slot(self, index: int, type_: DataType | None) -> int:
        """Where the nth parameter, as a value of that type, will be."""
        key = (index, type_)
        if key not in self._slots:
            self._slots[key] = len(self._plan)
            self._plan.append((index, caster(type_) if type_ else None))
        return self._slots[key]

    def prepared(self, entry: Sequence[Any]) -> list[Any]:
        """One entry of bulk_args, or args, as the slots want it. Surplus values are ignored, as CrateDB does."""
        try:
            return [cast(entry[index]) if cast else entry[index] for index, cast in self._plan]
        except IndexError:
            missing = next(index for index, _ in self._plan if index >= len(entry))
            said = f"The query contains a parameter placeholder ${missing + 1}, but there are only {len(entry)} parameter values"
            raise bad(said) from None


NUMBERS = {"byte": 0, "smallint": 1, "integer": 2, "bigint": 3, "numeric": 4, "real": 5, "double precision": 6}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(slots=True)
class Compiler:
    """Compiles expressions about the columns it is told. excluded: the columns of an INSERT, for ON CONFLICT."""

    columns: Mapping[str, DataType]
    params: Params
    qualifiers: frozenset[str] = frozenset()
    excluded: Mapping[str, DataType] | None = None
    subquery: Callable[[s.Select, Params], Evaluate] | None = None
    computed: dict[s.Expression, Compiled] = field(default_factory=dict)

    def compile(self, expression: s.Expression, want: DataType | None = None) -> Compiled:
        """want: the type that the value must have; parameters and literals are cast to it at once, the rest per row."""
        if self.computed and expression in self.computed:
            return self._as(self.computed[expression], want)
        match expression:
            case s.Param(index):
                slot = self.params.slot(index, want)
                return Compiled(lambda scope: scope.params[slot], want)
            case s.Literal(value):
                return literal(value, want)
            case s.Case():
                return self._case(expression, want)
            case s.Cast(of, type_, is_try):
                return self._as(self._cast(of, type_, is_try), want)
            case _:
                return self._as(self._compile(expression), want)

    def _as(self, found: Compiled, want: DataType | None) -> Compiled:
        if want is None or found.type == want or (found.type and want.is_text and found.type.is_text and not want.length):
            return found
        cast, of = caster(want), found.of
        return Compiled(lambda scope: cast(of(scope)), want, found.is_constant)

    def _compile(self, expression: s.Expression) -> Compiled:
        match expression:
            case s.Name(name, qualifier):
                return self._column(name, qualifier)
            case s.Binary("and" | "or"):
                return self._logic(expression)
            case s.Binary(op, left, right):
                return self._compare(op, left, right) if op in COMPARE else self._calculate(op, left, right)
            case s.Unary("not", of):
                test = self.compile(of, BOOLEAN).of
                return Compiled(lambda scope: None if (found := test(scope)) is None else not found, BOOLEAN)
            case s.Unary(_, of):
                number = self.compile(of)
                return Compiled(lambda scope: None if (found := number.of(scope)) is None else -found, number.type)
            case s.In(of, items):
                return self._in(of, items)
            case s.AnyOf(op, left, array):
                return self._any(op, left, array)
            case s.Like():
                return self._like(expression)
            case s.IsNull(of):
                value = self.compile(of).of
                return Compiled(lambda scope: value(scope) is None, BOOLEAN)
            case s.Subscript(of, key):
                return self._subscript(of, key)
            case s.Array(items):
                parts = [self.compile(item).of for item in items]
                return Compiled(lambda scope: [part(scope) for part in parts], None)
            case s.Call():
                return self._call(expression)
            case s.Subquery(select):
                return self._scalar(select)
            case _:
                raise unsupported("an expression")

    # ------------------------------------------------------------ columns and constants

    def _column(self, name: str, qualifier: str) -> Compiled:
        if qualifier == "excluded" and self.excluded is not None:
            if name not in self.excluded:
                raise no_column(f"excluded.{name}")
            return Compiled(lambda scope: scope.excluded[name], self.excluded[name])
        if qualifier and qualifier not in self.qualifiers:
            raise no_relation(f"doc.{qualifier}")
        if name not in self.columns:
            raise no_column(name)
        return Compiled(lambda scope: scope.row.get(name), self.columns[name])

    def _subscript(self, of: s.Expression, key: s.Expression) -> Compiled:
        base, picked = self.compile(of), self.compile(key)
        type_ = None
        if base.type == PARTITION_VALUES:
            return Compiled(lambda scope: str_or_none((base.of(scope) or {}).get(picked.of(scope))), TEXT)
        if base.type and isinstance(key, s.Literal) and key.value in base.type.fields:
            type_ = base.type.fields[key.value]
        elif base.type and base.type.element:
            type_ = base.type.element

        def value(scope: Scope) -> Any:
            whole, at = base.of(scope), picked.of(scope)
            if isinstance(whole, dict):
                return whole.get(at)
            return whole[at - 1] if isinstance(whole, list) and isinstance(at, int) and 0 < at <= len(whole) else None

        return Compiled(value, type_)

    def _cast(self, of: s.Expression, type_: DataType, is_try: bool) -> Compiled:
        if not is_try:
            return self.compile(of, type_)
        cast, value = caster(type_), self.compile(of).of

        def attempt(scope: Scope) -> Any:
            try:
                return cast(value(scope))
            except Refusal:
                return None

        return Compiled(attempt, type_)

    def _scalar(self, select: s.Select) -> Compiled:
        if self.subquery is None:
            raise unsupported("a subquery in this place")
        return Compiled(self.subquery(select, self.params), None)

    # ------------------------------------------------------------ logic

    def _logic(self, expression: s.Binary) -> Compiled:
        """A chain of the same connective at once: false (true) as soon as one part is, else NULL if one is."""
        ends_with = expression.operator == "or"
        tests = [self.compile(part, BOOLEAN).of for part in chain(expression, expression.operator)]

        def decide(scope: Scope) -> Any:
            outcome: bool | None = not ends_with
            for test in tests:
                found = test(scope)
                if found is None:
                    outcome = None
                elif found is ends_with:
                    return ends_with
            return outcome

        return Compiled(decide, BOOLEAN)

    def _case(self, case: s.Case, want: DataType | None) -> Compiled:
        default = self.compile(case.default, want) if case.default else constant(None, want)
        branches = []
        for test, then in case.whens:
            tested = test if case.operand is None else s.Binary("=", case.operand, test)
            branches.append((self.compile(tested, BOOLEAN).of, self.compile(then, want)))
        whens = [(test, then.of) for test, then in branches]
        otherwise = default.of

        def choose(scope: Scope) -> Any:
            for test, then in whens:
                if test(scope):
                    return then(scope)
            return otherwise(scope)

        known = [then.type for _, then in branches if then.type] + [default.type]
        return Compiled(choose, want or known[0])

    def _together(self, *parts: s.Expression) -> list[Compiled]:
        """Parts that are compared with each other, all of one type: the first that a column or function has, else a literal's."""
        found = [self.compile(part) for part in parts]
        known = [part.type for part in found if part.type and not part.is_constant] or [part.type for part in found if part.type]
        if not known:
            return found
        want = common_type(known)
        if any(part.type and part.type.name in NUMBERS for part in found) and want.is_text:
            want = next(part.type for part in found if part.type and part.type.name in NUMBERS)  # 'abc' = 5 compares numbers
        return [
            part if part.type == want or both_numbers(part.type, want) else self.compile(expression, want)
            for part, expression in zip(found, parts, strict=True)
        ]

    def _compare(self, op: str, left: s.Expression, right: s.Expression) -> Compiled:
        first, second = (part.of for part in self._together(left, right))
        test = COMPARE[op]

        def compare(scope: Scope) -> bool | None:
            a, b = first(scope), second(scope)
            return None if a is None or b is None else test(a, b)

        return Compiled(compare, BOOLEAN)

    def _in(self, of: s.Expression, items: Sequence[s.Expression]) -> Compiled:
        value, *parts = self._together(of, *items)
        one_of, values = value.of, [part.of for part in parts]
        if all(part.is_constant for part in parts):
            fixed = [part.of(NOTHING) for part in parts]
            known = frozenset(item for item in fixed if item is not None)
            unless = None if None in fixed else False
            return Compiled(lambda scope: None if (a := one_of(scope)) is None else (a in known or unless), BOOLEAN)

        def test(scope: Scope) -> bool | None:
            a = one_of(scope)
            found = [item(scope) for item in values]
            return None if a is None else (a in found or (None if None in found else False))

        return Compiled(test, BOOLEAN)

    def _any(self, op: str, left: s.Expression, array: s.Expression) -> Compiled:
        value, test = self.compile(left), COMPARE[op]
        items = self.compile(array, DataType("array", element=value.type) if value.type and not value.is_constant else None)

        def compare(scope: Scope) -> bool | None:
            a, found = value.of(scope), items.of(scope)
            if a is None or found is None:
                return None
            return True if any(item is not None and test(a, item) for item in found) else (None if None in found else False)

        return Compiled(compare, BOOLEAN)

    def _like(self, like: s.Like) -> Compiled:
        value, pattern = self.compile(like.of, TEXT).of, self.compile(like.pattern, TEXT).of
        flags = re.DOTALL | (re.IGNORECASE if like.ignores_case else 0)

        def test(scope: Scope) -> bool | None:
            text, wanted = value(scope), pattern(scope)
            return None if text is None or wanted is None else bool(re.fullmatch(like_pattern(wanted), text, flags))

        return Compiled(test, BOOLEAN)

    # ------------------------------------------------------------ arithmetic and functions

    def _calculate(self, op: str, left: s.Expression, right: s.Expression) -> Compiled:
        if op == "||":
            first, second = self.compile(left, TEXT).of, self.compile(right, TEXT).of
            return Compiled(lambda scope: joined(first(scope), second(scope)), TEXT)
        a, b = self._together(left, right)
        known = [part.type for part in (a, b) if part.type]
        action = ARITHMETIC[op]

        def calculate(scope: Scope) -> Any:
            x, y = a.of(scope), b.of(scope)
            return None if x is None or y is None else action(x, y)

        return Compiled(calculate, common_type(known) if known else BIGINT)

    def _call(self, call: s.Call) -> Compiled:
        function = SCALARS.get(call.name)
        if function is None or call.is_star:
            raise no_function(call.name, SCALARS)
        wants = (*function.args, *[None] * (len(call.args) - len(function.args)))
        args = [self.compile(arg, want) for arg, want in zip(call.args, wants, strict=False)]
        values, action = [arg.of for arg in args], function.call
        type_ = function.type or next((arg.type for arg in args if arg.type), None)
        if function.takes_null:
            return Compiled(lambda scope: action(*(value(scope) for value in values)), type_)

        def apply(scope: Scope) -> Any:
            given = [value(scope) for value in values]
            return None if any(value is None for value in given) else action(*given)

        return Compiled(apply, type_)


# The values of a partition are an object in the catalogue, but a part of it answers as text.
PARTITION_VALUES = DataType("object", policy="values")
NOTHING = Scope({}, {}, ())


def constant(value: Any, type_: DataType | None) -> Compiled:
    return Compiled(lambda _scope: value, type_, is_constant=True)


def literal(value: Any, want: DataType | None) -> Compiled:
    type_ = type_of(value)
    try:
        return constant(caster(want)(value) if want else value, want or type_)
    except Refusal:
        said = type_.said if type_ else "undefined"
        raise bad(f"Cannot cast `{s.literal(value)}` of type `{said}` to type `{want.said if want else said}`") from None


def type_of(value: Any) -> DataType | None:
    """The type of a literal."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return DataType("integer") if -(2**31) <= value < 2**31 else BIGINT
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, dict):
        return OBJECT
    return TEXT if isinstance(value, str) else None


def both_numbers(left: DataType | None, right: DataType) -> bool:
    return left is not None and left.name in NUMBERS and right.name in NUMBERS


def common_type(types: Sequence[DataType]) -> DataType:
    """Of numbers the widest, else the first."""
    if all(type_.name in NUMBERS for type_ in types):
        widest = max(types, key=lambda type_: NUMBERS[type_.name])
        return NUMERIC if widest.name == "numeric" else widest
    return types[0]


def chain(expression: s.Expression, connective: str) -> list[s.Expression]:
    """The parts of `a AND b AND c`.

    >>> len(chain(s.Binary("and", s.Binary("and", s.Literal(1), s.Literal(2)), s.Literal(3)), "and"))
    3
    """
    if isinstance(expression, s.Binary) and expression.operator == connective:
        return [*chain(expression.left, connective), *chain(expression.right, connective)]
    return [expression]


def like_pattern(pattern: str) -> str:
    """
    >>> like_pattern("a_b%")
    'a.b.*'
    """
    return "".join({"%": ".*", "_": "."}.get(letter) or re.escape(letter) for letter in pattern)


def str_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def joined(left: str | None, right: str | None) -> str | None:
    return None if left is None or right is None else left + right
