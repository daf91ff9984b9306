"""Conditions: what a tool may meet, and a program's runs in it beside the same program's without telemetry.

In: a condition. Out: a Row of runs. Fails: AssertionError, where the spool shows that something else was measured.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from vibetel_client.spool import SPOOL_MAX_BYTES

from tests.bench import homes
from tests.bench.programs import LIFE_MAX_S, Program, Run, deliveries, run, wait_until

# A delivery just begun would slow down the next run, which is another program's: wait until it ends, or waits itself.
_SETTLE_S = 0.2


@dataclass(frozen=True)
class Condition:
    """What a tool may meet.

    With a `new` home each run starts a delivery; with one home for all, it is known that the last one failed.
    """

    name: str
    url: str = ""
    home: str = "one for all"
    choice: bool | None = True
    mount: str = ""
    waiting_bytes: int = 0
    leaves: str = ""  # in the spool when all is over: "events", "no events", or "" where there is no spool
    posthog: bool = False  # which knows neither of homes nor of our users' choice


@dataclass
class Row:
    """The runs in one condition: of the program without telemetry, with the client, with posthog-python, in turn."""

    condition: Condition
    without: list[Run] = field(default_factory=list)
    client: list[Run] = field(default_factory=list)
    posthog: list[Run] = field(default_factory=list)
    not_measured: str = ""


def of_endpoints(urls: dict[str, str]) -> list[Condition]:
    """All but those of the portal, which takes time of its own while it runs."""
    refusing = urls["refusing"]
    return [
        *both_homes("healthy", urls["healthy"], "no events"),
        *both_homes("refusing", refusing),
        *both_homes("black-holed", urls["black-holed"]),
        *both_homes("30 s slow", urls["slow"]),
        *both_homes("name not resolving", "http://no-such-name.invalid"),
        Condition("refusing, spool full", refusing, "new", waiting_bytes=SPOOL_MAX_BYTES, leaves="events"),
        Condition("disk full", urls["healthy"], mount=homes.FULL, posthog=True),
        Condition("home read-only", urls["healthy"], mount=homes.READ_ONLY, posthog=True),
        Condition("pending", urls["healthy"], choice=None),
        Condition("opted out", urls["healthy"], choice=False),
    ]


def both_homes(name: str, url: str, leaves: str = "events") -> list[Condition]:
    """The condition with a new home for each run, and with one for all."""
    return [Condition(name, url, "new", leaves=leaves, posthog=True), Condition(name, url, leaves=leaves)]


def measure(
    condition: Condition, program: Program, runs: int, posthog_runs: int, progress: Callable[[], object]
) -> Row:
    """So many runs of each program in turn, after one to warm up; of posthog-python, until they have taken a minute."""
    row = Row(condition)
    with tempfile.TemporaryDirectory(prefix="vibetel-") as name:
        folder = Path(name)
        home = _home(condition, folder)
        try:
            with homes.mounted(home, condition.mount) if condition.mount else nullcontext(list[str]()) as prefix:
                for number in range(-1, runs):
                    if condition.home == "new":
                        home = _home(condition, folder)
                    _run_in_turn(row, program, home, prefix, with_posthog=0 <= number < posthog_runs)
                    if number < 0:
                        row.without.clear()
                        row.client.clear()
                    else:
                        progress()
        except homes.NotAllowed as error:
            row.not_measured = str(error)
            return row
        wait_until(lambda: not deliveries(folder), LIFE_MAX_S)
        spool = homes.spool(home)
        left = "" if not spool.exists() else "events" if spool.stat().st_size else "no events"
        assert left == condition.leaves, f"{condition} left {left or 'no spool'}"
    return row


def _home(condition: Condition, folder: Path) -> Path:
    return homes.make(folder, condition.choice, condition.waiting_bytes)


def _run_in_turn(row: Row, program: Program, home: Path, prefix: Sequence[str], *, with_posthog: bool) -> None:
    url = row.condition.url
    variables = {"VIBE_TOOLS_TELEMETRY_ENDPOINT": f"{url}/api/pipeline", "POSTHOG_HOST": url}
    row.without.append(run(program.without, home, prefix, variables))
    row.client.append(run(program.client, home, prefix, variables))
    wait_until(lambda: not deliveries(home), _SETTLE_S)
    taken_s = sum(done.whole for done in row.posthog) / 1000
    if with_posthog and row.condition.posthog and taken_s < LIFE_MAX_S:
        row.posthog.append(run(program.posthog, home, prefix, variables))
