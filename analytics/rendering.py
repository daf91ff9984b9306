"""Rendering: what a query found, as JSON and as CSV, and what the headers of a CSV say beside it. Pure.

In: dataclasses of analytics/queries/, or lists of them. Out: what json.dumps takes; text. Next: api.py, dashboards/

Both follow the types that a query declares, and so does the document (openapi.py). Each field has its own name. Beside
the fields stand the properties that are numbers, such as `error_rate`: what pages show is nothing that a reader has to
work out once more. A dataclass that is no table by itself has a method `rows`: the same as a list of others.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from itertools import accumulate, chain
from types import UnionType
from typing import Any, NamedTuple, TypeGuard, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlencode

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

GROUP = "of"
"""The column that tells apart the lists of an answer that has several, such as `now` and `before`."""

HEADER_MAX_CHARS = 1500
"""Of the filter, and of the notices; JSON has all of both."""

_LISTS = (Sequence, list)
_NUMBERS = {int, float, bool, type(None)}
_PLAIN = {*_NUMBERS, str, date, datetime}
# A spreadsheet takes a cell for a formula that begins with one of these; values are what anybody may have posted.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are as wide as an ideograph


class Member(NamedTuple):
    """A field or property of a dataclass: its name, its type, and what is said of it."""

    name: str
    hint: Any
    words: str = ""


class Table(NamedTuple):
    """How something is a table: the dataclass of its rows, and in which of its fields they are (none: itself is)."""

    row: type
    groups: Sequence[str]


class Column(NamedTuple):
    """What its name is made of, and the way from a row to its value."""

    name: Sequence[str]
    way: Sequence[str | int]


def as_json(found: object) -> Json:
    """Dataclasses as objects, days and times as ISO 8601, times in UTC. Raises TypeError for what is none of these."""
    match found:
        case None | bool() | int() | float() | str():
            return found
        case datetime():
            return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date():
            return found.isoformat()
        case dict():
            return {key: as_json(value) for key, value in found.items()}
        case list() | tuple():
            return [as_json(item) for item in found]
    kind: Any = type(found)
    if not _is_class(kind):
        raise TypeError(f"{kind.__name__} has no JSON")
    return {name: as_json(getattr(found, name)) for name, _, _ in members(kind)}


def headers(words: Sequence[tuple[str, str]], notices: Sequence[str], **beside: object) -> dict[str, str]:
    """What a CSV cannot say of itself: `X-Filter`, `X-Notices`, and of what stands beside it each under its name.

    As long as a question may be, proxies would refuse them: 4 KB is usual.
    """
    said, told = [urlencode([word]) for word in words], [json.dumps(notice) for notice in notices]
    return {
        "X-Filter": "&".join(_fitting(said, lambda more: urlencode([("and", more)]))),
        "X-Notices": f"[{', '.join(_fitting(told, json.dumps))}]",
        **{f"X-{name.capitalize()}": json.dumps(as_json(found)) for name, found in beside.items()},
    }


def _fitting(texts: Sequence[str], told: Callable[[str], str]) -> list[str]:
    fits = sum(length <= HEADER_MAX_CHARS for length in accumulate(len(text) + 1 for text in texts))
    left = len(texts) - fits
    return [*texts[:fits], *([told(f"{left} more")] if left else [])]


def as_csv(found: object, hint: Any, places: Mapping[str, Sequence[str]] | None = None) -> str:
    """With a header, also where there are no rows. `hint` is the type that the query declares.

    The column of what is inside something else is named after both: `now_runs`. A list of plain values has a column for
    each, named in `places` or counted from 1 on; other lists inside of rows are left out. Raises TypeError for what is
    no table.
    """
    shape = table(hint)
    if shape is None:
        raise TypeError(f"{hint} is no table")
    rows = [*_rows(found, shape)]
    columns = [*_columns(shape.row, [row for _, row in rows], places or {})]
    if len(shape.groups) > 1:
        columns.insert(0, Column([GROUP], []))
    return written(
        ["_".join(column.name) for column in columns],
        ([_at(row, column.way) if column.way else group for column in columns] for group, row in rows),
    )


def written(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV of plain values, days and times. A text that a spreadsheet would take for a formula has a `'` before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([_cell(value) for value in row] for row in chain([header], rows))  # a name may be in the header
    return text.getvalue()


@cache
def table(hint: Any) -> Table | None:
    """How something of this type is a table: a list of rows, a row, or lists of such rows in fields of it; or None."""
    kind = item_of(hint) or hint
    if not _is_class(kind):
        return None
    if hasattr(kind, "rows"):
        return Table(item_of(get_type_hints(kind.rows)["return"]), ())
    if item_of(hint):
        return Table(kind, ())
    lists = {member.name: item for member in members(hint) if (item := item_of(member.hint))}
    if not lists:
        return Table(hint, ())
    first, *others = set(lists.values())
    return Table(first, tuple(lists)) if _is_class(first) and not others else None


@cache
def members(kind: type) -> Sequence[Member]:
    """The fields of a dataclass, and those of its properties that are numbers."""
    hints = get_type_hints(kind)
    found = [Member(field.name, hints[field.name]) for field in fields(kind)]
    for name in dir(kind):
        getter = getattr(getattr(kind, name), "fget", None)
        if getter and not name.startswith("_") and {*kinds(hint := get_type_hints(getter)["return"])} <= _NUMBERS:
            found.append(Member(name, hint, getter.__doc__ or ""))
    return found


def item_of(hint: Any) -> Any:
    """What a list of this type holds; None where it is no list."""
    inner = get_args(hint)
    if get_origin(hint) in _LISTS or (get_origin(hint) is tuple and inner[-1] is ...):
        return inner[0]
    return None


def kinds(hint: Any) -> tuple[Any, ...]:
    """The types that a union allows; of any other type that one."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_class(hint: object) -> TypeGuard[type]:
    return isinstance(hint, type) and is_dataclass(hint)


def _columns(kind: type, rows: Sequence[Any], places: Mapping[str, Sequence[str]]) -> Iterator[Column]:
    for name, hint, _ in members(kind):
        if inner := next(filter(_is_class, kinds(hint)), None):
            for column in _columns(inner, [_at(row, [name]) for row in rows], places):
                yield Column([name, *column.name], [name, *column.way])
        elif {*kinds(hint)} <= _PLAIN:
            yield Column([name], [name])
        elif {*kinds(item_of(hint))} <= _PLAIN and item_of(hint):
            longest = max((len(_at(row, [name]) or ()) for row in rows), default=0)
            names = places.get(name) or [f"{name}_{number}" for number in range(1, longest + 1)]
            yield from (Column([place], [name, number]) for number, place in enumerate(names))


def _rows(found: Any, shape: Table) -> Iterator[tuple[str, object]]:
    if shape.groups:
        for name in shape.groups:
            yield from ((name, row) for row in getattr(found, name))
        return
    for one in found if isinstance(found, list | tuple) else [found]:
        yield from (("", row) for row in (one.rows() if hasattr(one, "rows") else [one]))


def _at(row: Any, way: Sequence[str | int]) -> Any:
    """None where there is nothing on the way."""
    for step in way:
        if row is None:
            return None
        if isinstance(step, str):
            row = getattr(row, step)
        elif step < len(row):
            row = row[step]
        else:
            return None
    return row


def _cell(value: object) -> Json:
    match as_json(value):
        case bool() as flag:
            return str(flag).lower()
        case str() as text:
            return f"'{text}" if text.startswith(_FORMULA) else text
        case plain:
            return plain
