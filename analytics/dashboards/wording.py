"""Wording: numbers as words, the same on every page.

In: figures, None where there is none. Out: short strings; a change is a fragment of HTML.
"""

from datetime import date, datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "\N{EN DASH}"

# Below this share a figure counts as unchanged.
CHANGE_MIN_SHARE = 0.02


def exact(number: float | None) -> str:
    """As in `23,412`."""
    return NOTHING if number is None else f"{number:,.0f}"


def many(count: int, noun: str) -> str:
    """As in `1 run` or `1,204 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def compact(number: float | None) -> str:
    """As in `23.4k`; exact below 10,000."""
    if number is None or number < 10_000:
        return exact(number)
    thousands = next(power for power in (1, 2, 3, 4) if number < 999.5 * 1000**power or power == 4)
    scaled = number / 1000**thousands
    return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:,.0f}") + " kMGT"[thousands]


def decimal(number: float | None) -> str:
    """As in `24.2`."""
    return NOTHING if number is None else f"{number:,.1f}"


def percent(share: float | None) -> str:
    """As in `5.7%`, for a share from 0 to 1."""
    if share is None:
        return NOTHING
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def round_share(share: float | None) -> str:
    """As in `6%`, for a cell of a grid."""
    return NOTHING if share is None else f"{share:.0%}"


def round_percent(share: float) -> str:
    """As in `6%`, or `0.5%` where that is what it takes; for an axis."""
    return f"{round(100 * share, 2):g}%"


def duration(milliseconds: float | None) -> str:
    """As in `340 ms`, `12.3 s`, `1m 24s`, `2h 05m` or `1,200h`."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m" if hours < 100 else f"{hours:,}h"


def round_duration(milliseconds: float) -> str:
    """As in `10s`, `2m` or `1h`; for an axis."""
    for unit_ms, unit in ((3_600_000, "h"), (60_000, "m"), (1_000, "s")):
        if milliseconds >= unit_ms:
            return f"{milliseconds / unit_ms:g}{unit}"
    return f"{milliseconds:g}ms" if milliseconds else "0"


def between(first_ms: float, until_ms: float | None) -> str:
    """Durations from one to another, as in `<15ms`, `1-2s`, `30s-1m` or `≥4h`; for a bar of a histogram."""
    if until_ms is None:
        return f"≥{round_duration(first_ms)}"
    until = round_duration(until_ms)
    if not first_ms:
        return f"<{until}"
    first, digits = round_duration(first_ms), "0123456789."
    unit = until.lstrip(digits)
    return f"{first.rstrip(unit) if first.lstrip(digits) == unit else first}{NOTHING}{until}"


def duration_unit_ms(longest_ms: float) -> int:
    """What to count durations in, up to this one: seconds, minutes or hours."""
    return next((unit for unit in (3_600_000, 60_000) if longest_ms >= 2 * unit), 1_000)


def short_day(day: date) -> str:
    """As in `3 Nov`."""
    return f"{day.day} {day:%b}"


def past_day(day: date, now: datetime) -> str:
    """As in `3 Nov`; with the year, where that is another one."""
    return short_day(day) + (f" {day.year}" if day.year != now.year else "")


def stretch(first: date, last: date) -> str:
    """From one day to another, as in `24 Oct 2026`."""
    if first == last:
        return f"{first:%A}, {first.day} {first:%b} {first.year}"
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%b}{year} {NOTHING} {last.day} {last:%b} {last.year}"


def ago(then: datetime, now: datetime) -> str:
    """As in `2 minutes ago`."""
    seconds = max((now - then).total_seconds(), 0)
    for unit_seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        count = int(seconds // unit_seconds)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def change(now: float | None, before: float | None, *, good: int = 0) -> SafeString:
    """By which share a figure grew or shrank, with an arrow; `good` is 1 where more is better, -1 where less is."""
    if now is None or before is None:
        return format_html('<span class="change">{}</span>', NOTHING)
    if not before:
        return _new() if now else format_html('<span class="change">{}</span>', NOTHING)
    share = now / before - 1
    text = ">999%" if share >= 9.995 else f"{abs(share):.0%}"
    return _arrow(share, text, good) if abs(share) >= CHANGE_MIN_SHARE else _same()


def change_of_rate(now: float | None, before: float | None, *, good: int = -1) -> SafeString:
    """By how many percentage points a rate changed, by default one of failure; `good` as in `change`."""
    if now is None or before is None:
        return format_html('<span class="change">{}</span>', NOTHING)
    points = 100 * (now - before)
    telling = abs(points) >= 0.05 and abs(now - before) >= CHANGE_MIN_SHARE * before
    return _arrow(points, f"{abs(points):.1f} pp", good) if telling else _same()


def _arrow(direction: float, text: str, good: int) -> SafeString:
    tone = {1: "good", -1: "bad"}.get(good * (1 if direction > 0 else -1), "")
    way = "up" if direction > 0 else "down"
    return format_html(
        '<span class="change {0} {1}"><span class="visually-hidden">{0} </span>{2}</span>', way, tone, text
    )


def _same() -> SafeString:
    return format_html('<span class="change" title="less than 2% apart">{}</span>', "≈")


def _new() -> SafeString:
    return format_html('<span class="change new">{}</span>', "new")
