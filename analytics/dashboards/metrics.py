"""Metrics: the figures that pages show, each with its words, its axis and its place in a CSV. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from analytics import charts
from analytics.dashboards import wording
from analytics.dashboards.panel import Cell, Exact
from analytics.queries import Figures


@dataclass(frozen=True)
class Metric:
    """A figure of some runs. `name` is the one in CSV and in `metric=`.

    `write` is for cards, `write_exactly` for tables, `write_tick` for an axis. `good` is 1 where more is better, -1
    where less is. `duration` is in milliseconds, `rate` a share (0 to 1).
    """

    name: str
    label: str
    of: Callable[[Figures], float | None]
    write: Callable[[float | None], str]
    write_exactly: Callable[[float | None], str]
    write_tick: charts.Words
    good: int = 0
    finest_tick: int = 0
    duration: bool = False
    rate: bool = False

    def cell(self, figures: Figures | None) -> Cell:
        """In a table; empty for no figures at all."""
        return self.cell_of(self.of(figures) if figures else None)

    def cell_of(self, value: float | None) -> Cell:
        """In a table."""
        return Cell(exact(value), self.write_exactly(value))

    def change(self, now: float | None, before: float | None) -> SafeString:
        """By how much it changed, in words."""
        return wording.change_of_rate(now, before) if self.rate else wording.change(now, before, good=self.good)

    def unit(self, values: Sequence[float | None]) -> float:
        """What an axis of these counts in."""
        return wording.duration_unit_ms(max((value for value in values if value), default=0)) if self.duration else 1


def exact(value: float | None) -> Exact:
    """As a CSV has it: not rounded, but for what a float makes of a ratio."""
    return round(value, 6) if isinstance(value, float) else value


_COUNT = (wording.compact, wording.exact, wording.compact)
_RATIO = (wording.decimal, wording.decimal, "{:g}".format)
_RATE = (wording.percent, wording.percent, wording.round_percent)
_TIME = (wording.duration, wording.duration, wording.round_duration)

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("runs", "Command runs", lambda of: of.runs, *_COUNT, good=1, finest_tick=1),
        Metric("installations", "Active installations", lambda of: of.installations, *_COUNT, good=1, finest_tick=1),
        Metric("runs_per_installation", "Runs per installation", lambda of: of.runs_per_installation, *_RATIO),
        Metric("error_rate", "Error rate", lambda of: of.error_rate, *_RATE, good=-1, rate=True),
        Metric("p50_ms", "Median duration", lambda of: of.p50_ms, *_TIME, good=-1, duration=True),
        Metric("tokens", "Tokens", lambda of: of.tokens, *_COUNT, finest_tick=1),
        Metric("failures", "Failed runs", lambda of: of.failures, *_COUNT, good=-1, finest_tick=1),
        Metric("p90_ms", "p90", lambda of: of.p90_ms, *_TIME, good=-1, duration=True),
        Metric("p99_ms", "p99", lambda of: of.p99_ms, *_TIME, good=-1, duration=True),
        Metric("prompt_tokens", "Prompt tokens", lambda of: of.prompt_tokens, *_COUNT, finest_tick=1),
        Metric("completion_tokens", "Completion tokens", lambda of: of.completion_tokens, *_COUNT, finest_tick=1),
        Metric("context_tokens", "Context tokens", lambda of: of.context_tokens, *_COUNT, finest_tick=1),
        Metric("tokens_per_run", "Tokens per run", lambda of: of.tokens_per_run, *_COUNT),
    )
}


def some(*names: str) -> dict[str, Metric]:
    """Those of METRICS, in this order."""
    return {name: METRICS[name] for name in names}
