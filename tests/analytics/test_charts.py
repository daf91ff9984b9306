"""Charts: well-formed, escaped, and nothing in them that a strict content security policy would bar."""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import charts
from analytics.charts import Layer, Line, LogScale, Marker, Step

HOSTILE = "<script>alert('1')</script>\"&"
STEPS = [Step(f"{day} Nov", partial=day == 10) for day in range(1, 11)]

numbers = st.lists(st.none() | st.floats(0, 1e12, allow_subnormal=False), min_size=10, max_size=10)


def write(value: float) -> str:
    return f"{value:g}"


def every_chart(name: str, values: charts.Values, steps: Sequence[Step] = STEPS) -> list[str]:
    shares = [0.1] * len(steps)
    scale = LogScale.around([1500, 90_000])
    lines = [Line(name, "main", values), Line(name, "before", values)]
    counts = [value or 0 for value in values]
    markers = [Marker(0, name), Marker(len(steps) - 1, name, "note")]
    return [
        charts.time_series(steps, lines, summary=name, write_tick=write, markers=markers),
        charts.time_series(steps, lines, summary=name, write_tick=write, scale=scale),
        charts.line_legend(lines, partial=name, markers=True),
        charts.sparkline(values),
        charts.bar(0.5),
        charts.split_bar(0.5, 0.1),
        charts.heat(0.5),
        charts.histogram([name] * len(counts), counts, summary=name, write_tick=write),
        charts.stacked_shares(steps, [Layer(name, shares), Layer(name, shares)], summary=name),
        charts.legend([("layer-1", name, name)]),
        charts.whisker(1500, 30_000, 90_000, scale),
        charts.whisker_axis(scale, write),
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


def test_charts_are_drawn_of_a_single_step() -> None:
    for chart in every_chart("runs", [3.0], [Step("today", partial=True)]):
        ElementTree.fromstring(chart)


def drawn(values: charts.Values, steps: Sequence[Step] = STEPS, **more: Any) -> str:
    return charts.time_series(steps, [Line("runs", "main", values)], summary="runs", write_tick=write, **more)


def test_time_series_draws_the_way_to_a_step_that_is_not_whole_apart() -> None:
    settled, still_open = re.findall(r'<polyline class="line main(?: open)?" points="([^"]+)"', drawn([1.0] * 10))
    assert (len(settled.split()), len(still_open.split())) == (9, 2)


def test_time_series_marks_a_first_step_that_is_not_whole() -> None:
    steps = [Step("1 Nov", partial=True), *STEPS[1:9]]
    chart = drawn([1.0] * 9, steps)
    assert re.findall(r'class="point main open" cx="([^"]+)"', chart) == ["0%"]


def test_time_series_ends_where_steps_are_still_to_come() -> None:
    chart = drawn([1.0] * 6 + [None] * 4)
    assert chart.count("<polyline") == 1
    assert 'class="point main open"' not in chart


def test_time_series_leaves_a_gap_where_there_is_no_value() -> None:
    values = [1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    chart = charts.time_series(STEPS, [Line("runs", "before", values)], summary="runs", write_tick=write)
    assert chart.count("<polyline") == 2


def test_time_series_stands_on_the_scale_that_it_is_given() -> None:
    scale = LogScale.around([1_000, 600_000])
    chart = drawn([600_000.0] * 5 + [1_000.0] * 5, scale=scale)
    assert re.findall(r'<text x="40" y="[^"]+">([^<]+)<', chart) == ["1000", "10000", "60000", "600000"]
    [settled, _] = re.findall(r'<polyline class="line main(?: open)?" points="([^"]+)"', chart)
    assert {point.partition(",")[2] for point in settled.split()} == {"0.0", "1000.0"}


def test_time_series_names_markers_as_far_as_there_is_room() -> None:
    steps = [Step(str(day)) for day in range(90)]
    markers = [Marker(40, "0.63.9"), Marker(41, "0.64.0"), Marker(80, "0.65.0")]
    chart = drawn([1.0] * 90, steps, markers=markers)
    assert re.findall(r"<title>([^<]+)<", chart) == ["0.65.0", "0.64.0", "0.63.9"]
    assert re.findall(r'<text x="[^"]+" y="\d+" class="">([^<]+)<', chart) == ["0.65.0", "0.64.0"]


def test_time_series_names_fewer_markers_where_it_is_narrow_and_cuts_long_names_so_that_it_shows() -> None:
    steps = [Step(str(day)) for day in range(90)]
    markers = [Marker(50, "moved to the new model", "note"), Marker(60, "0.64.0")]
    chart = drawn([1.0] * 90, steps, markers=markers)
    assert re.findall(r'class="(crowded)?">([^<]+)<', chart) == [("", "0.64.0"), ("crowded", "moved to th…")]


def test_stacked_shares_leave_a_gap_where_there_are_none() -> None:
    shares = [1.0, 1.0, 0, 0, 1.0, 0, 1.0, 1.0, 1.0, 1.0]
    chart = charts.stacked_shares(STEPS, [Layer("0.64", shares)], summary="adoption")
    assert [len(points.split()) for points in re.findall(r'points="([^"]+)"', chart)] == [4, 4, 8]


def test_histogram_bars_are_as_high_as_their_counts() -> None:
    chart = charts.histogram(["1", "2", "3"], [10, 5, 0], summary="runs", write_tick=write)
    heights = [float(height) for height in re.findall(r'class="column"[^>]* height="([^"]+)"', chart)]
    assert heights[0] == 2 * heights[1] > heights[2] == 0


def test_heat_grows_with_the_share_and_turns_its_words_where_it_is_strong() -> None:
    strengths = [float(re.findall(r'fill-opacity="([^"]+)"', charts.heat(at / 20))[0]) for at in range(21)]
    assert strengths == sorted(strengths)
    assert [charts.heat_look(share) for share in (0, 0.5, 0.9, 1)] == ["", "", "inverted", "inverted"]


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
