"""Rendering: a result as JSON and as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import pytest

from analytics.rendering import as_csv, as_json, table, written


@dataclass(frozen=True)
class Inner:
    runs: int
    failures: int

    @property
    def error_rate(self) -> float | None:
        """Share of the runs that failed."""
        return self.failures / self.runs if self.runs else None

    @property
    def words(self) -> str:
        """No figure."""
        return "one in two"


@dataclass(frozen=True)
class Row:
    name: str
    now: Inner
    before: Inner | None = None
    counts: Sequence[int] = ()
    pairs: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Nested:
    name: str
    inner: Sequence[Inner]

    def rows(self) -> list[Inner]:
        return list(self.inner)


@dataclass(frozen=True)
class Rows:
    new: bool
    now: Sequence[Row]
    before: Sequence[Row]


def lines(found: object, hint: object, **places: Sequence[str]) -> list[str]:
    return as_csv(found, hint, places).splitlines()


def test_json_has_fields_and_properties_that_are_numbers() -> None:
    assert as_json([Inner(2, 1), Inner(0, 0)]) == [
        {"runs": 2, "failures": 1, "error_rate": 0.5},
        {"runs": 0, "failures": 0, "error_rate": None},
    ]


def test_json_of_times_is_utc() -> None:
    elsewhere = datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=2)))
    assert as_json((elsewhere, date(2026, 11, 22))) == ["2026-11-21T23:00:00Z", "2026-11-22"]


def test_json_of_anything_else_is_refused() -> None:
    for found in ({1}, b"", object(), Inner):
        with pytest.raises(TypeError):
            as_json(found)


def test_csv_names_columns_after_their_place_whatever_is_in_them() -> None:
    header = "name,now_runs,now_failures,now_error_rate,before_runs,before_failures,before_error_rate"
    assert lines([], list[Row]) == [header]
    assert lines([Row("a", Inner(2, 1)), Row("b", Inner(0, 0), Inner(1, 0))], list[Row]) == [
        header,
        "a,2,1,0.5,,,",
        "b,0,0,,1,0,0.0",
    ]


def test_csv_has_a_column_for_each_value_of_a_list() -> None:
    rows = [Row("a", Inner(1, 0), counts=[5, 6]), Row("b", Inner(1, 0), counts=[7], pairs=[("x", 1)])]
    header, *found = lines(rows, list[Row])
    assert header.endswith(",counts_1,counts_2")
    assert [line.split(",")[-2:] for line in found] == [["5", "6"], ["7", ""]]
    assert lines(rows, list[Row], counts=("first", "second"))[0].endswith(",first,second")


def test_csv_of_several_lists_says_which() -> None:
    found = lines(Rows(True, [Row("a", Inner(1, 0))], [Row("b", Inner(1, 0))]), Rows)
    assert [line.split(",")[:2] for line in found] == [["of", "name"], ["now", "a"], ["before", "b"]]


def test_csv_of_what_has_rows_of_its_own_is_those() -> None:
    found = [Nested("a", [Inner(1, 0)]), Nested("b", [Inner(2, 0), Inner(3, 0)])]
    for hint, of in ((list[Nested], found), (Nested, found[1])):
        header, *runs = (line.split(",")[0] for line in lines(of, hint))
        assert (header, runs) == ("runs", ["1", "2", "3"][-len(runs) :])


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_csv_holds_no_formula(beginning: str) -> None:
    assert f"'{beginning}1" in as_csv([Row(f"{beginning}1", Inner(1, 0))], list[Row])


def test_csv_leaves_negative_numbers() -> None:
    assert lines(Inner(-1, 0), Inner) == ["runs,failures,error_rate", "-1,0,-0.0"]


@pytest.mark.parametrize("hint", [list[str], str, dict[str, int]])
def test_csv_of_what_is_no_table_is_refused(hint: object) -> None:
    assert table(hint) is None
    with pytest.raises(TypeError):
        as_csv([], hint)


def test_a_header_is_no_formula_either() -> None:
    assert written(["day", "=cmd"], []) == "day,'=cmd\r\n"
