"""Durations: percentiles on a log scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

from analytics.charts import drawing
from analytics.charts.drawing import Words, join

_DURATION_TICKS_MS = (100, 1_000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 360_000_000)
# More names would overprint.
_MAX_DURATION_TICKS = 4


@dataclass(frozen=True)
class LogScale:
    """From one of the duration ticks to another, so that both ends have a name."""

    low_ms: float
    high_ms: float

    @classmethod
    def around(cls, values_ms: Sequence[float]) -> "LogScale":
        """The shortest that holds all values."""
        lowest, highest = min(values_ms, default=1_000), max(values_ms, default=60_000)
        low = max((tick for tick in _DURATION_TICKS_MS[:-1] if tick <= lowest), default=_DURATION_TICKS_MS[0])
        high = min(
            (tick for tick in _DURATION_TICKS_MS if tick >= highest and tick > low), default=_DURATION_TICKS_MS[-1]
        )
        return cls(low, high)

    def share(self, value_ms: float) -> float:
        """Where a value stands, 0 to 1; what is beyond an end stands at it."""
        place = math.log(max(value_ms, 1) / self.low_ms) / math.log(self.high_ms / self.low_ms)
        return min(max(place, 0), 1)

    def percent(self, value_ms: float) -> str:
        """The same, from left to right."""
        return drawing.percent(100 * self.share(value_ms))

    @property
    def ticks_ms(self) -> list[float]:
        """The named values on it: both ends, and a few between them."""
        ticks = [tick for tick in _DURATION_TICKS_MS if self.low_ms <= tick <= self.high_ms]
        steps = min(len(ticks), _MAX_DURATION_TICKS) - 1
        return [ticks[round(step * (len(ticks) - 1) / steps)] for step in range(steps + 1)]


def whisker(p50_ms: float, p90_ms: float, p99_ms: float, scale: LogScale) -> SafeString:
    """One line: a solid point at p50, a thick stroke to the hollow point at p90, a thin one to the small one at p99."""
    return format_html(
        '<svg class="whisker" aria-hidden="true">{grid}<line class="thin" x1="{p50}" x2="{p99}" y1="50%" y2="50%"/>'
        '<line class="thick" x1="{p50}" x2="{p90}" y1="50%" y2="50%"/><circle class="p50" cx="{p50}" cy="50%" r="3.5"/>'
        '<circle class="p90" cx="{p90}" cy="50%" r="3.5"/><circle class="p99" cx="{p99}" cy="50%" r="2.5"/></svg>',
        grid=join(
            '<line class="grid" x1="{0}" x2="{0}" y2="100%"/>', ((scale.percent(tick),) for tick in scale.ticks_ms)
        ),
        p50=scale.percent(p50_ms),
        p90=scale.percent(p90_ms),
        p99=scale.percent(p99_ms),
    )


def whisker_axis(scale: LogScale, write: Words) -> SafeString:
    """The names of a scale's ticks, for over the whiskers."""
    return format_html(
        '<svg class="whisker" role="img" aria-label="p50, p90 and p99 on one scale">{}</svg>',
        join(
            '<text x="{}" y="65%">{}</text>',
            ((scale.percent(tick), write(tick)) for tick in scale.ticks_ms),
        ),
    )
