"""Filters: what a page is about, as its query string says it.

In: a query string and the time. Out: a Filter, and a sentence for each value that is not known. Next: selection.py

The same words for pages, CSV and the stats API (docs/queries.md). Days are UTC days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from analytics.dimensions import DIMENSIONS
from analytics.queries.selection import Selection

# Name -> how many days, today being the last; `today` is in hours by default.
PERIOD_DAYS: Mapping[str, int] = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "12mo": 365}
DEFAULT_PERIOD = "30d"
MONTH, CUSTOM = "month", "custom"
PERIODS = (*PERIOD_DAYS, MONTH, CUSTOM)
CUSTOM_MAX_DAYS = 3 * 366

COMPARISONS = ("previous", "yoy", "off")
INTERVALS = ("hour", "day", "week", "month")

# Every word there is. The last two choose how a page shows its figures, and are its own business.
WORDS = frozenset(
    (
        "period",
        "from",
        "to",
        "compare",
        "interval",
        *DIMENSIONS,
        *(f"{name}__not" for name in DIMENSIONS),
        "metric",
        "sort",
    )
)
_HOURS_MAX_DAYS = 7  # more points than anybody can tell apart


@dataclass(frozen=True)
class Period:
    """Whole UTC days, `first` to `last` inclusive."""

    name: str
    first: date
    last: date

    @classmethod
    def ending_today(cls, name: str, now: datetime) -> "Period":
        """The period of this name in PERIOD_DAYS, with today as its last day. Raises KeyError."""
        last = now.astimezone(UTC).date()
        return cls(name, last - timedelta(days=PERIOD_DAYS[name] - 1), last)

    @property
    def days(self) -> list[date]:
        """Each of its days, the first one first."""
        return [self.first + timedelta(days=offset) for offset in range((self.last - self.first).days + 1)]

    @property
    def start(self) -> datetime:
        """Its first midnight."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The midnight after it."""
        return datetime.combine(self.last, time(), UTC) + timedelta(days=1)

    def before(self) -> "Period":
        """As many days before it, moved by whole weeks: weekdays meet weekdays (30 days are 35 days back)."""
        return self.earlier(-(-len(self.days) // 7))

    def earlier(self, weeks: int) -> "Period":
        """So many weeks before."""
        return replace(self, first=self.first - timedelta(weeks=weeks), last=self.last - timedelta(weeks=weeks))


@dataclass(frozen=True)
class Filter:
    """Which runs, of which days, in steps of what, and beside which other days."""

    period: Period
    interval: str = "day"
    compare: str = "previous"
    selection: Selection = field(default_factory=Selection)

    @property
    def before(self) -> Period | None:
        """The period to compare with. A year ago is 52 weeks ago: weekdays meet weekdays. The two never overlap."""
        if self.compare == "off":
            return None
        before = self.period.before()
        return (
            min(before, self.period.earlier(52), key=lambda period: period.first) if self.compare == "yoy" else before
        )

    def read_ahead(self, lists: str = "") -> None:
        """Read the days of both periods at once: a page asks for them one after the other.

        First of all values of the dimension that the page lists: where combinations are read, what the filter wants of
        these is taken from those.
        """
        spans = [(period.first, period.last) for period in (self.period, self.before) if period]
        if lists and self.selection.is_combined:
            self.selection.of_any(lists).read_ahead(*spans)
        self.selection.read_ahead(*spans)


def parsed(asked: Mapping[str, Sequence[str]], now: datetime) -> tuple[Filter, list[str]]:
    """The filter of a query string, each name with its values; and what was not known and fell back.

    An empty value, as a form sends it for a field that nobody filled in, says nothing.
    """
    asked = {name: [value for value in values if value] for name, values in asked.items()}
    notices = [f"There is no “{name[:40]}” to filter by." for name in asked if name not in WORDS]
    period = _period(asked, now, notices)
    return Filter(
        period=period,
        interval=_interval(asked, period, notices),
        compare=_known(asked, "compare", COMPARISONS, "previous", notices),
        selection=Selection(
            {name: frozenset(asked[name]) for name in DIMENSIONS if asked.get(name)},
            {name: frozenset(asked[f"{name}__not"]) for name in DIMENSIONS if asked.get(f"{name}__not")},
        ),
    ), notices


def words(chosen: Filter) -> list[tuple[str, str]]:
    """The query string that says this filter, name by name, without what goes without saying."""
    found = [("period", chosen.period.name)]
    if chosen.period.name == CUSTOM:
        found += [("from", chosen.period.first.isoformat()), ("to", chosen.period.last.isoformat())]
    if chosen.compare != "previous":
        found.append(("compare", chosen.compare))
    if chosen.interval != _usual_interval(chosen.period):
        found.append(("interval", chosen.interval))
    for name in DIMENSIONS:
        found += [(name, value) for value in sorted(chosen.selection.only.get(name, ()))]
        found += [(f"{name}__not", value) for value in sorted(chosen.selection.without.get(name, ()))]
    return found


def _period(asked: Mapping[str, Sequence[str]], now: datetime, notices: list[str]) -> Period:
    usual = CUSTOM if asked.get("from") or asked.get("to") else DEFAULT_PERIOD
    name = _known(asked, "period", PERIODS, usual, notices)
    if name != CUSTOM == usual:
        notices.append(f"from and to go with period=custom: this is period={name}.")
    today = now.astimezone(UTC).date()
    if name == MONTH:
        return Period(name, today.replace(day=1), today)
    if name == CUSTOM:
        return _custom(asked, today, notices) or Period.ending_today(DEFAULT_PERIOD, now)
    return Period.ending_today(name, now)


def _custom(asked: Mapping[str, Sequence[str]], today: date, notices: list[str]) -> Period | None:
    try:
        first, last = (_day(_last(asked, name, "")) for name in ("from", "to"))
    except ValueError:
        notices.append(f"period=custom needs from and to as YYYY-MM-DD: this is period={DEFAULT_PERIOD}.")
        return None
    if last > today:
        last = today
        notices.append(f"Days to come are left out: this ends on {today}.")
    if not date(1970, 1, 1) <= first <= last or (last - first).days >= CUSTOM_MAX_DAYS:
        notices.append(f"from must be before to, by less than {CUSTOM_MAX_DAYS} days: this is period={DEFAULT_PERIOD}.")
        return None
    return Period(CUSTOM, first, last)


def _day(text: str) -> date:
    """Python takes 20261101 and 2026-W45-7 for days, too. Raises ValueError."""
    day = date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError(text)
    return day


def _interval(asked: Mapping[str, Sequence[str]], period: Period, notices: list[str]) -> str:
    interval = _known(asked, "interval", INTERVALS, _usual_interval(period), notices)
    if interval == "hour" and len(period.days) > _HOURS_MAX_DAYS:
        notices.append(f"Hours are shown for at most {_HOURS_MAX_DAYS} days: this is interval=day.")
        return "day"
    return interval


def _usual_interval(period: Period) -> str:
    days = len(period.days)
    return "hour" if days == 1 else "day" if days <= 120 else "week"


def _known(
    asked: Mapping[str, Sequence[str]], name: str, known: Sequence[str], fallback: str, notices: list[str]
) -> str:
    value = _last(asked, name, fallback)
    if value in known:
        return value
    notices.append(f"There is no {name} “{value[:40]}”: this is {name}={fallback}.")
    return fallback


def _last(asked: Mapping[str, Sequence[str]], name: str, fallback: str) -> str:
    return asked[name][-1] if asked.get(name) else fallback
