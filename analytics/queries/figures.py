"""Figures: breakdowns as the numbers that pages show.

In: breakdowns. Out: Figures, one a part. Pure. Next: the questions beside this file
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics.breakdowns import COUNTS, Breakdown

# Under this many successful runs a percentile says nothing.
PERCENTILE_MIN_RUNS = 20


@dataclass(frozen=True)
class Figures:
    """Some runs, counted.

    Percentiles are of successful runs, and None under PERCENTILE_MIN_RUNS of them. They and installations are None
    where they are not kept (dimensions.BREAKDOWNS), or were not asked for.
    """

    runs: int = 0
    failures: int = 0
    placeholder_runs: int = 0
    installations: int | None = 0
    context_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None

    @property
    def tokens(self) -> int:
        """Prompt and completion; the context is part of the prompt."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def tokens_per_run(self) -> float | None:
        """None without runs."""
        return self.tokens / self.runs if self.runs else None

    @property
    def runs_per_installation(self) -> float | None:
        """Without those by placeholders, who are no installations; None without, or where they were not counted."""
        return (self.runs - self.placeholder_runs) / self.installations if self.installations else None

    @property
    def error_rate(self) -> float | None:
        """Share (0 to 1) of the runs that failed; None without runs."""
        return self.failures / self.runs if self.runs else None


NOTHING = Figures()


def of_all(one: Breakdown | None) -> Figures:
    """Of a breakdown by nothing."""
    return of_parts(one)[0] if one is not None and len(one) else NOTHING


def of_parts(one: Breakdown) -> list[Figures]:
    """Of each part, in order."""
    sizes: Sequence[int | None] = one.sizes or [None] * len(one)
    percentiles = (one.percentiles_ms(share, PERCENTILE_MIN_RUNS) for share in (0.5, 0.9, 0.99))
    return [
        Figures(**dict(zip(COUNTS, counts, strict=True)), installations=size, p50_ms=p50, p90_ms=p90, p99_ms=p99)
        for counts, size, p50, p90, p99 in zip(one.counts.tolist(), sizes, *percentiles, strict=True)
    ]
