"""Report of the ingest bench: cases as a table in Markdown, and what is beyond its limit.

In: the turns of each case by its name, and counted instructions. Out: text.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

from tests.bench import report
from tests.bench.stack import Cores

# The cases.
SINGLE = "one event a request"
BATCH = "50 events a request"
GZIP = "50 events a request, gzip"
PLAIN = "plain Django view, one event"
PLAIN_ALIKE = "plain Django view, with our threads"
TYPICAL = "typical DRF view, one event"
OURS = (SINGLE, BATCH, GZIP)

# What one core takes in, a second.
SINGLE_MIN = 2_500.0
BATCHED_MIN = 25_000.0
# Against the yardsticks, in the same rounds.
TYPICAL_MIN_RATIO = 6.0
PLAIN_MIN_RATIO = 0.8
INSTRUCTIONS_MAX_RATIO = 1.3
P99_MAX_MS = 40.0
MEMORY_MAX_MB = 150.0


@dataclass(frozen=True)
class Turn:
    """A case's figures of one round. `kept` is how many events the stream held in the end, the warm-up's included."""

    requests_per_s: float
    events_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # an event, of the endpoint's processes
    memory_mb: float
    kept: int


@dataclass(frozen=True)
class Results:
    """What was measured: turns by case, in the order of the rounds; instructions per request by case, where counted."""

    turns: Mapping[str, Sequence[Turn]]
    instructions: Mapping[str, int]

    def of(self, case: str, figure: str) -> float:
        """The median of the rounds."""
        return float(median(getattr(turn, figure) for turn in self.turns[case]))

    def ratio(self, case: str, yardstick: str) -> float:
        """How many times as many events a second: the median of the rounds' ratios."""
        both = zip(self.turns[case], self.turns[yardstick], strict=True)
        return median(turn.events_per_s / other.events_per_s for turn, other in both)


def head(load_before: str, cores: Cores, valkey: str) -> str:
    """Where it was measured, and how much else the machine had to do."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("Django", "djangorestframework", "granian", "redis"))
    return (
        f"Python {platform.python_version()} on {platform.system()}, {packages}, Valkey {valkey}; load average "
        f"{load_before} before and {report.load_average()} after. "
    ) + (
        "Not pinned to cores, of which there are no two, or none to choose: read the ratios only."
        if cores.web is None
        else f"The endpoint has core {cores.web} to itself; Valkey and the load have core {cores.others}."
    )


def surroundings(ceiling_per_s: float, appends_ms: Sequence[float]) -> str:
    """What bounds every figure: the load itself, and the disk that each answer waits for."""
    return (
        f"From a server that does nothing the load gets {ceiling_per_s:,.0f} answers/s. An event alone is on Valkey's "
        f"disk after {median(appends_ms):.2f} ms, in the rounds {min(appends_ms):.2f} to {max(appends_ms):.2f}."
    )


def rates(results: Results) -> str:
    """What each endpoint takes in."""
    names = ["endpoint", "requests/s", "events/s", "x typical", "x plain", "p50 ms", "p99 ms", "CPU µs an event", "MB"]
    lines = [
        [
            case,
            f"{results.of(case, 'requests_per_s'):,.0f}",
            f"{results.of(case, 'events_per_s'):,.0f}",
            f"{results.ratio(case, TYPICAL):.2f}",
            f"{results.ratio(case, PLAIN):.2f}",
            f"{results.of(case, 'p50_ms'):.1f}",
            f"{results.of(case, 'p99_ms'):.1f}",
            f"{results.of(case, 'cpu_us'):,.0f}",
            f"{_memory_mb(results, case):.0f}",
        ]
        for case in results.turns
    ]
    return report.table(names, lines)


def instructions(results: Results) -> str:
    """What the CPU does for a request, but for the server's own part."""
    if not results.instructions:
        return "Instructions were not counted: there is no valgrind here, or --no-instructions was given."
    lines = [
        [case, f"{count:,}", f"{count / results.instructions[PLAIN]:.2f}"]
        for case, count in results.instructions.items()
    ]
    return report.table(["endpoint", "instructions a request", "x plain"], lines)


def exactness(results: Results) -> str:
    """How many events were counted; that they were all there is why there is a report at all."""
    kept = sum(turn.kept for case in OURS for turn in results.turns[case])
    return f"{kept:,} events were answered with 2xx, and the stream held each of them once."


def beyond(results: Results) -> list[str]:
    """A line for each figure that is beyond its limit."""
    against = f"{results.ratio(SINGLE, TYPICAL):.2f} x typical and {results.ratio(SINGLE, PLAIN):.2f} x plain here"
    least = [
        (f"{SINGLE}, requests/s ({against})", results.of(SINGLE, "requests_per_s"), SINGLE_MIN),
        (f"{SINGLE}, x typical", results.ratio(SINGLE, TYPICAL), TYPICAL_MIN_RATIO),
        (f"{SINGLE}, x plain", results.ratio(SINGLE, PLAIN), PLAIN_MIN_RATIO),
        (f"{BATCH}, events/s", results.of(BATCH, "events_per_s"), BATCHED_MIN),
        (f"{GZIP}, events/s", results.of(GZIP, "events_per_s"), BATCHED_MIN),
    ]
    most = [
        (f"{SINGLE}, p99 ms", results.of(SINGLE, "p99_ms"), P99_MAX_MS),
        ("memory, MB", max(_memory_mb(results, case) for case in OURS), MEMORY_MAX_MB),
    ]
    if results.instructions:
        ratio = results.instructions[SINGLE] / results.instructions[PLAIN]
        most.append((f"{SINGLE}, instructions x plain", ratio, INSTRUCTIONS_MAX_RATIO))
    return [f"Beyond its limit: {name}: {found:,.2f} < {limit:,g}" for name, found, limit in least if found < limit] + [
        f"Beyond its limit: {name}: {found:,.2f} > {limit:,g}" for name, found, limit in most if found > limit
    ]


def _memory_mb(results: Results, case: str) -> float:
    return max(turn.memory_mb for turn in results.turns[case])
