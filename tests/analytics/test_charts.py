"""Charts: well-formed, escaped, and nothing in them that a strict content security policy would bar."""

import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import charts
from analytics.charts import Layer, Line, LogScale

HOSTILE = "<script>alert('1')</script>\"&"
DAYS = [date(2026, 11, 1) + timedelta(days=offset) for offset in range(10)]

numbers = st.lists(st.none() | st.floats(0, 1e12, allow_subnormal=False), min_size=10, max_size=10)


def write(value: float) -> str:
    return f"{value:g}"


def every_chart(name: str, values: charts.Values) -> list[str]:
    shares = [0.1] * len(DAYS)
    scale = LogScale.around([1500, 90_000])
    lines = [Line(name, "main", values, write), Line(name, "before", values, write)]
    return [
        charts.time_series(DAYS, lines, summary=name, write_tick=write),
        charts.line_legend(lines),
        charts.sparkline(values),
        charts.bar(0.5),
        charts.split_bar(0.5, 0.1),
        charts.stacked_shares(DAYS, [Layer(name, shares), Layer(name, shares)], summary=name),
        charts.legend([("layer-1", name, name)]),
        charts.whisker(1500, 30_000, 90_000, scale),
        charts.whisker_axis(scale, write),
        charts.table(name, [name, name], [[name, name]]),
    ]


@given(numbers)
def test_charts_are_well_formed_and_every_number_in_them_is_finite(values: list[float | None]) -> None:
    for chart in every_chart("runs", values):
        ElementTree.fromstring(chart)
        assert not re.search(r"\b(nan|inf)\b", chart)


def test_charts_escape_what_anybody_may_have_posted() -> None:
    for chart in every_chart(HOSTILE, [1.0] * 10):
        assert "<script" not in chart
        assert "alert('1')" not in chart
        ElementTree.fromstring(chart)


def test_charts_need_no_inline_style_and_no_script() -> None:
    for chart in every_chart("runs", [1.0] * 10):
        assert not re.search(r"\s(style|on\w+)=|<style|<script|javascript:", chart)


def test_time_series_draws_the_way_to_today_apart() -> None:
    chart = charts.time_series(DAYS, [Line("runs", "main", [1.0] * 10, write)], summary="runs", write_tick=write)
    settled, still_open = re.findall(r'<polyline class="line main(?: open)?" points="([^"]+)"', chart)
    assert (len(settled.split()), len(still_open.split())) == (9, 2)


def test_time_series_leaves_a_gap_where_there_is_no_value() -> None:
    values = [1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    chart = charts.time_series(DAYS, [Line("runs", "before", values, write)], summary="runs", write_tick=write)
    assert chart.count("<polyline") == 2


@pytest.mark.parametrize(
    ("maximum", "unit", "finest", "ticks"),
    [
        (0, 1, 0, [0, 1]),
        (2, 1, 1, [0, 1, 2]),
        (1060, 1, 1, [0, 500, 1000, 1500]),
        (0.083, 1, 0, [0, 0.05, 0.1]),
        (23_000, 1000, 0, [0, 10_000, 20_000, 30_000]),
    ],
)
def test_nice_ticks_are_round(maximum: float, unit: float, finest: float, ticks: list[float]) -> None:
    assert charts.nice_ticks(maximum, unit, finest) == pytest.approx(ticks)


@given(st.floats(1e-9, 1e15))
def test_nice_ticks_hold_the_maximum_in_few_steps(maximum: float) -> None:
    ticks = charts.nice_ticks(maximum)
    assert ticks[0] == 0
    assert ticks[-1] >= maximum * (1 - 1e-6)
    assert 2 <= len(ticks) <= 6


def test_log_scale_ends_on_ticks_around_the_values() -> None:
    scale = LogScale.around([3_900, 328_000])
    assert scale.ticks_ms == [1_000, 10_000, 60_000, 600_000]
    assert (scale.percent(1_000), scale.percent(600_000), scale.percent(10**9)) == ("0%", "100%", "100%")


@given(st.lists(st.floats(1, 1e11), min_size=1))
def test_log_scale_names_both_ends_and_little_between(values: list[float]) -> None:
    scale = LogScale.around(values)
    assert 2 <= len(scale.ticks_ms) <= 4
    assert (scale.ticks_ms[0], scale.ticks_ms[-1]) == (scale.low_ms, scale.high_ms)


def test_log_scale_of_all_durations_has_four_names() -> None:
    assert LogScale.around([100, 360_000_000]).ticks_ms == [100, 10_000, 3_600_000, 360_000_000]
