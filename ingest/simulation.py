"""Simulation: what some hundred installations of a tool would have sent, from a seed.

In: a seed, two moments, how much. Out: events as clients send them, in the order in which they arrive. Next: checks.py

Pure: no clock, no settings, no network; the same traffic gives the same events, byte for byte. One day at a time is
held in memory, as times and users; an event is made when it is asked for.
"""

import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

from vibetel_client.contract import COMMAND_ERROR, COMMAND_EXECUTED, PLACEHOLDER_USER_IDS

DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Traffic:
    """What to simulate: the events that arrive from `start` to before `until`, both aware.

    `events_per_day` is the mean over whole weeks. About `users` installations are active in the last 30 days. Releases
    are counted back from `until`.
    """

    start: datetime
    until: datetime
    events_per_day: int = 1000
    users: int = 950
    seed: int = 1


class Sent(NamedTuple):
    """An event as a client sends it, and when it arrives, in Unix milliseconds."""

    arrived_ms: int
    event: dict[str, object]


# -- The tool ---------------------------------------------------------------------------------------------------------


class _Model(NamedTuple):
    provider: str
    name: str
    weight: float
    appetite: float  # tokens, against what a command takes on average


class _Command(NamedTuple):
    """How a command behaves: `spread` is the sigma of its log-normal duration, `tokens` the median of the prompt's."""

    share: float
    median_ms: int
    spread: float
    error_rate: float
    errors: Mapping[str, float]
    options: Mapping[str, float]
    models: tuple[_Model, ...] = ()
    model_chance: float = 1.0
    tokens: int = 0


class _Release(NamedTuple):
    version: str
    days_before: int  # the end of the simulation
    error_factor: float


_GENERAL_MODELS = (
    _Model("gemini", "gemini-2.5-pro", 21, 1.5),
    _Model("gemini", "gemini-2.5-flash", 17, 1.4),
    _Model("gemini", "gemini-2.0-flash", 8, 1.4),
    _Model("openai", "gpt-4.1", 10, 1.0),
    _Model("openai", "gpt-4o", 8, 1.0),
    _Model("openai", "o3-mini", 5, 0.9),
    _Model("openai", "o4-mini", 4, 0.9),
    _Model("anthropic", "claude-sonnet-4", 12, 0.8),
    _Model("anthropic", "claude-3-7-sonnet-latest", 7, 0.8),
    _Model("anthropic", "claude-opus-4", 3, 0.7),
    _Model("openrouter", "google/gemini-2.5-pro", 3, 1.1),
    _Model("openrouter", "anthropic/claude-sonnet-4", 3, 0.8),
)
_SEARCH_MODELS = (
    _Model("perplexity", "sonar-pro", 55, 1.0),
    _Model("perplexity", "sonar", 27, 0.8),
    _Model("gemini", "gemini-2.5-flash", 12, 1.2),
    _Model("gemini", "gemini-2.5-pro", 6, 1.2),
)
_VIDEO_MODELS = (
    _Model("gemini", "gemini-2.5-pro", 60, 1.0),
    _Model("gemini", "gemini-2.5-flash", 40, 1.0),
)
# The model that `plan` chooses files with; the one that thinks is the run's own.
_FILE_MODELS = (
    _Model("gemini", "gemini-2.5-flash", 55, 1.0),
    _Model("gemini", "gemini-2.0-flash", 30, 1.0),
    _Model("openai", "gpt-4o", 15, 1.0),
)

_PROVIDER_ERRORS = {"ProviderError": 36, "RateLimitError": 20, "ApiKeyMissingError": 17, "NetworkError": 10}
_CODE_ERRORS = {**_PROVIDER_ERRORS, "FileError": 16, "ContextLengthError": 8}
_PAGE_ERRORS = {**_PROVIDER_ERRORS, "TimeoutError": 40, "Error": 6}
_GITHUB_ERRORS = {**_PROVIDER_ERRORS, "GitHubAuthError": 30}
_LOCAL_ERRORS = {"FileError": 40, "NetworkError": 30, "Error": 20, "TypeError": 10}

_TEXT_OPTIONS = {"debug": 0.02, "maxTokens": 0.08, "saveTo": 0.12, "quiet": 0.05}
_CODE_OPTIONS = {**_TEXT_OPTIONS, "reasoningEffort": 0.06, "hasWithDoc": 0.07}
_PAGE_OPTIONS = {"debug": 0.03, "html": 0.3, "headless": 0.7, "console": 0.4, "network": 0.3, "timeout": 0.15}

_COMMANDS = {
    "repo": _Command(22, 11_600, 0.78, 0.050, _CODE_ERRORS, _CODE_OPTIONS, _GENERAL_MODELS, tokens=31_000),
    "ask": _Command(16, 6_400, 0.70, 0.056, _PROVIDER_ERRORS, _CODE_OPTIONS, _GENERAL_MODELS, tokens=2_600),
    "plan": _Command(13, 34_700, 0.69, 0.053, _CODE_ERRORS, _CODE_OPTIONS, _GENERAL_MODELS, tokens=35_000),
    "web": _Command(12, 6_800, 0.66, 0.084, _PROVIDER_ERRORS, _TEXT_OPTIONS, _SEARCH_MODELS, tokens=2_000),
    "doc": _Command(9.5, 35_900, 0.76, 0.045, _CODE_ERRORS, _TEXT_OPTIONS, _GENERAL_MODELS, tokens=38_000),
    "github": _Command(7, 9_100, 0.75, 0.044, _GITHUB_ERRORS, _TEXT_OPTIONS, _GENERAL_MODELS, tokens=6_000),
    "browser": _Command(6, 19_700, 0.67, 0.072, _PAGE_ERRORS, _PAGE_OPTIONS, _GENERAL_MODELS, 0.5, tokens=9_000),
    "youtube": _Command(4.5, 24_300, 0.85, 0.043, _PROVIDER_ERRORS, _TEXT_OPTIONS, _VIDEO_MODELS, tokens=15_000),
    "mcp": _Command(3, 15_900, 0.75, 0.060, _PROVIDER_ERRORS, _TEXT_OPTIONS, _GENERAL_MODELS, tokens=4_000),
    "test": _Command(2, 57_400, 0.72, 0.090, _PROVIDER_ERRORS, {"debug": 0.2}, _GENERAL_MODELS, tokens=12_000),
    "install": _Command(2, 3_900, 0.70, 0.040, _LOCAL_ERRORS, {}),
    "clickup": _Command(1.3, 5_400, 0.79, 0.050, _LOCAL_ERRORS, {"quiet": 0.1}),
    "linear": _Command(0.8, 3_200, 0.60, 0.050, _LOCAL_ERRORS, {"quiet": 0.1}),
    "xcode": _Command(0.5, 31_000, 0.80, 0.150, _LOCAL_ERRORS, {"debug": 0.1}),
    "wait": _Command(0.4, 30_000, 0.50, 0.002, _LOCAL_ERRORS, {}),
}

# A release changes some errors: 0.64.0 sends larger contexts.
_RELEASES = (_Release("0.63.0", 1_000_000, 1.15), _Release("0.63.3", 63, 1.05), _Release("0.64.0", 26, 1.0))
_CHANGED_ERRORS = {"0.64.0": {"ContextLengthError": 2.2, "ProviderError": 0.85}}
_ADOPTION_MEAN_DAYS = 7.0

_OPTION_VALUES: Mapping[str, tuple[object, ...]] = {
    "maxTokens": (2_000, 4_000, 8_000, 16_000),
    "reasoningEffort": ("low", "medium", "high"),
    "timeout": (10_000, 30_000, 60_000),
}
# What the released client lets through, and the checks take out (wire-format.md, "Fields").
_ERROR_MESSAGE = (
    "{error}: {command} failed\n    at /home/sam/projects/shop/node_modules/vibe-tools/dist/index.mjs:1204:11"
)
_SAVED_TO = "/home/sam/projects/shop/notes/answer.md"

# -- The users --------------------------------------------------------------------------------------------------------

_WEEKDAYS = (1.21, 1.29, 1.28, 1.24, 1.11, 0.43, 0.44)  # Monday first; the mean is 1
_GROWTH_PER_DAY = 1.2 ** (1 / 30)
_USERS_PER_WEEKLY_JOIN = 6.0  # installations active in 30 days for each that joins in a week
_LOOKBACK_DAYS = 364  # who joined before the start, and may still be there
_NODE_SHARE = 0.04
_CI_SHARE = 0.08
_AGENT_SHARE = 0.3
_AGENTS = ("claude-code", "cursor", "codex", "gemini-cli", "opencode", "cline")
_AGENT_WEIGHTS = (45, 25, 12, 9, 6, 3)
_SYSTEMS = ("darwin", "linux", "windows", "other")
_SYSTEM_WEIGHTS = (52, 30, 17, 1)
_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
_PYTHON_WEIGHTS = (3, 9, 20, 36, 26, 6)
_PEAK_HOURS_UTC = (20, 13, 6)  # afternoons in the Americas, in Europe and in Asia
_PEAK_WEIGHTS = (45, 35, 20)
_CLOCK_ERRORS_MS = (-1_100 * DAY_MS, -45 * DAY_MS, -3 * _HOUR_MS, 2 * _HOUR_MS, 3_650 * DAY_MS)
_CLOCK_ERROR_SHARE = 0.012
_FAVOURITE_FACTOR = 3.0
_LOST_SHARE = 0.002


@dataclass(frozen=True, slots=True)
class _User:
    """An installation and its habits. Days are counted from 1970; `adopts` has the day of each release."""

    user_id: str
    last_day: int
    adopts: tuple[int, ...]
    runs_weight: float
    weekday_chance: float
    weekend_chance: float
    peak_hour: int | None  # None: any hour
    command_weights: tuple[float, ...]  # cumulative
    model: _Model
    surroundings: dict[str, object]  # empty for the Node client, which knows none
    clock_error_ms: int

    @property
    def is_node(self) -> bool:
        return not self.surroundings


def events(traffic: Traffic) -> Iterator[Sent]:
    """The traffic's events, none arriving before the one before it."""
    rng = Random(traffic.seed)  # noqa: S311 - repeatable is the point
    start_ms, until_ms = _unix_ms(traffic.start), _unix_ms(traffic.until)
    last_ms = start_ms
    for day, users in _population(rng, traffic):
        for planned_ms, user in _day(rng, users, day, _runs(traffic, day)):
            if planned_ms < start_ms:
                continue
            for sent in _run(rng, user, max(planned_ms, last_ms)):
                if sent.arrived_ms >= until_ms:
                    return
                last_ms = sent.arrived_ms
                yield sent


def expected_count(traffic: Traffic) -> int:
    """About how many events there will be."""
    return round(traffic.events_per_day * ((traffic.until - traffic.start) / timedelta(days=1)))


def _population(rng: Random, traffic: Traffic) -> Iterator[tuple[int, list[_User]]]:
    """Each day of the traffic with the users who are there: some stop after a while, new ones join every week."""
    first_day, end_day = _unix_ms(traffic.start) // DAY_MS, _unix_ms(traffic.until) // DAY_MS
    users: list[_User] = []
    for day in range(first_day - _LOOKBACK_DAYS, end_day + 1):
        joining = traffic.users / _USERS_PER_WEEKLY_JOIN / 7 * _WEEKDAYS[_weekday(day)] * _growth(day - end_day)
        users = [user for user in users if user.last_day >= day]
        users += [_user(rng, day, end_day) for _ in range(int(joining + rng.random()))]
        if day >= first_day:
            yield day, users


def _runs(traffic: Traffic, day: int) -> float:
    """How many runs to expect on a day: growing, and fewer on weekends."""
    days = (traffic.until - traffic.start) / timedelta(days=1)
    middle = _unix_ms(traffic.start) / DAY_MS + days / 2
    mean_growth = (_growth(days / 2) - _growth(-days / 2)) / (days * math.log(_GROWTH_PER_DAY))  # the integral's mean
    return traffic.events_per_day * _WEEKDAYS[_weekday(day)] * _growth(day + 0.5 - middle) / mean_growth


def _day(rng: Random, users: list[_User], day: int, runs: float) -> list[tuple[int, _User]]:
    """A day's runs in order of time: when, and whose."""
    weekend = _weekday(day) >= 5
    present = [user for user in users if rng.random() < (user.weekend_chance if weekend else user.weekday_chance)]
    if not present:
        return []
    count = int(runs * rng.gauss(1.0, 0.04) + rng.random())
    chosen = rng.choices(present, weights=[user.runs_weight for user in present], k=max(0, count))
    return sorted(((day * DAY_MS + _time_of_day_ms(rng, user), user) for user in chosen), key=lambda run: run[0])


def _time_of_day_ms(rng: Random, user: _User) -> int:
    hour = rng.uniform(0, 24) if user.peak_hour is None else rng.gauss(user.peak_hour, 2.6) % 24
    return int(hour * _HOUR_MS) % DAY_MS


# -- A user -----------------------------------------------------------------------------------------------------------


def _user(rng: Random, joined_day: int, end_day: int) -> _User:
    is_node = rng.random() < _NODE_SHARE
    in_ci = not is_node and rng.random() < _CI_SHARE
    chance = rng.uniform(0.25, 0.95)
    return _User(
        user_id=_user_id(rng, is_node),
        last_day=joined_day + _stay_days(rng),
        adopts=_adopts(rng, joined_day, end_day, is_node),
        runs_weight=rng.lognormvariate(0, 0.6),
        weekday_chance=chance,
        weekend_chance=chance * (0.9 if in_ci else rng.uniform(0.1, 0.7)),
        peak_hour=None if in_ci else rng.choices(_PEAK_HOURS_UTC, _PEAK_WEIGHTS)[0],
        command_weights=_command_weights(rng),
        model=_pick(rng, _GENERAL_MODELS),
        surroundings={} if is_node else _surroundings(rng, in_ci),
        clock_error_ms=rng.choice(_CLOCK_ERRORS_MS) if rng.random() < _CLOCK_ERROR_SHARE else 0,
    )


def _user_id(rng: Random, is_node: bool) -> str:
    """A few released clients send a placeholder instead of an id."""
    if is_node and rng.random() < 0.2:
        return rng.choice(PLACEHOLDER_USER_IDS)
    return _uuid4(rng)


def _stay_days(rng: Random) -> int:
    """Some try it once, half stay some weeks, the others for most of a year."""
    kind = rng.random()
    if kind < 0.38:
        return int(rng.uniform(0, 3))
    return int(rng.expovariate(1 / (17 if kind < 0.8 else 280)))


def _adopts(rng: Random, joined_day: int, end_day: int, is_node: bool) -> tuple[int, ...]:
    """The day from which each release is used: the newest at once by those who join, later by the others.

    The Node client ends with 0.63.
    """
    days = [end_day - release.days_before for release in _RELEASES]
    adopted = [day if day <= joined_day else day + int(rng.expovariate(1 / _ADOPTION_MEAN_DAYS)) for day in days]
    return tuple(adopted[:-1] if is_node else adopted)


def _command_weights(rng: Random) -> tuple[float, ...]:
    """Everybody has up to three favourites."""
    favourites = rng.choices(list(_COMMANDS), [command.share for command in _COMMANDS.values()], k=3)
    return tuple(
        accumulate(c.share * (_FAVOURITE_FACTOR if name in favourites else 1) for name, c in _COMMANDS.items())
    )


def _surroundings(rng: Random, in_ci: bool) -> dict[str, object]:
    """What the bundled client tells about where it runs, in the contract's order."""
    by_agent = not in_ci and rng.random() < _AGENT_SHARE
    agent = {"agent": rng.choices(_AGENTS, _AGENT_WEIGHTS)[0]} if by_agent else {}
    return {
        "os": "linux" if in_ci else rng.choices(_SYSTEMS, _SYSTEM_WEIGHTS)[0],
        "pythonVersion": rng.choices(_PYTHONS, _PYTHON_WEIGHTS)[0],
        "ci": in_ci,
        **agent,
        "interactive": not in_ci and not by_agent,
    }


# -- A run ------------------------------------------------------------------------------------------------------------


def _run(rng: Random, user: _User, arrived_ms: int) -> list[Sent]:
    """The events of one run. The Node client reports a failure twice (wire-format.md, "Two shapes of event")."""
    name = rng.choices(list(_COMMANDS), cum_weights=user.command_weights)[0]
    command = _COMMANDS[name]
    release = _release(user, arrived_ms // DAY_MS)
    failed = rng.random() < command.error_rate * release.error_factor
    error = _error(rng, name, release.version) if failed else ""
    sent_ms = arrived_ms - rng.randint(30, 400) + user.clock_error_ms
    head = {
        "userId": user.user_id,
        "sessionId": _uuid4(rng),
        "timestamp": _timestamp(sent_ms),
        "toolVersion": release.version,
        "command": name,
    }
    run = {
        "eventName": COMMAND_ERROR if failed and not user.is_node else COMMAND_EXECUTED,
        **head,
        "duration": _duration_ms(rng, command, error),
        **_model_fields(rng, user, name, failed),
        "options": _options(rng, user, command),
        "hasError": failed,
        **({"errorType": error} if failed else {}),
    }
    if not user.is_node:
        lost = {"lostCount": rng.randint(1, 9)} if rng.random() < _LOST_SHARE else {}
        return [Sent(arrived_ms, {**run, **user.surroundings, **lost, "eventId": _uuid7(rng, arrived_ms)})]
    if not failed:
        return [Sent(arrived_ms, run)]
    return [Sent(arrived_ms, run), _twin(rng, arrived_ms, sent_ms, head, error)]


def _twin(rng: Random, arrived_ms: int, sent_ms: int, head: Mapping[str, str], error: str) -> Sent:
    later_ms = rng.randint(20, 200)
    event: dict[str, object] = {
        "eventName": COMMAND_ERROR,
        **head,
        "timestamp": _timestamp(sent_ms + later_ms),
        "errorType": error,
        "errorMessage": _ERROR_MESSAGE.format(error=error, command=head["command"]),
    }
    return Sent(arrived_ms + later_ms, event)


def _release(user: _User, day: int) -> _Release:
    adopted = [release for release, adopts in zip(_RELEASES, user.adopts, strict=False) if adopts <= day]
    return adopted[-1]


def _error(rng: Random, command: str, version: str) -> str:
    types, weights = _errors(command, version)
    return rng.choices(types, weights)[0]


@cache
def _errors(command: str, version: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    changed = _CHANGED_ERRORS.get(version, {})
    errors = {error: weight * changed.get(error, 1) for error, weight in _COMMANDS[command].errors.items()}
    return tuple(errors), tuple(errors.values())


def _duration_ms(rng: Random, command: _Command, error: str) -> int:
    """Log-normal, so with a long tail. A missing key fails at once, a timeout late."""
    factor = {"": 1.0, "ApiKeyMissingError": 0.03, "TimeoutError": 2.5}.get(error, 0.6)
    return max(1, int(command.median_ms * factor * rng.lognormvariate(0, command.spread)))


def _model_fields(rng: Random, user: _User, name: str, failed: bool) -> dict[str, object]:
    """Tokens and models, in the contract's order, of a run that used a model; a failed one got no answer to count."""
    command = _COMMANDS[name]
    if not command.models or rng.random() >= command.model_chance:
        return {}
    favourite = user.model in command.models and rng.random() < 0.5
    model = user.model if favourite else _pick(rng, command.models)
    fields = {} if failed else _tokens(rng, user, command, model)
    fields |= {"provider": model.provider, "model": model.name}
    if name == "plan":
        chooser = _pick(rng, _FILE_MODELS)
        fields |= {"fileProvider": chooser.provider, "fileModel": chooser.name}
        fields |= {"thinkingProvider": model.provider, "thinkingModel": model.name}
    return fields


def _tokens(rng: Random, user: _User, command: _Command, model: _Model) -> dict[str, object]:
    prompt = int(command.tokens * model.appetite * rng.lognormvariate(0, 0.7))
    # The released client never manages to send the context's size.
    context = {} if user.is_node else {"contextTokens": int(prompt * rng.uniform(0.6, 0.95))}
    return {**context, "promptTokens": prompt, "completionTokens": int(rng.lognormvariate(6.8, 0.6))}


def _options(rng: Random, user: _User, command: _Command) -> dict[str, object]:
    options: dict[str, object] = {}
    for name, chance in command.options.items():
        if rng.random() < chance:
            options[name] = rng.choice(_OPTION_VALUES[name]) if name in _OPTION_VALUES else True
    if user.is_node and "saveTo" in options:
        options["saveTo"] = _SAVED_TO
    if "hasWithDoc" in options:
        options["withDocCount"] = rng.randint(1, 4)
    return options


# -- Values -----------------------------------------------------------------------------------------------------------


def _pick(rng: Random, models: tuple[_Model, ...]) -> _Model:
    return rng.choices(models, _model_weights(models))[0]


@cache
def _model_weights(models: tuple[_Model, ...]) -> tuple[float, ...]:
    return tuple(model.weight for model in models)


def _growth(days: float) -> float:
    return float(_GROWTH_PER_DAY**days)


def _weekday(day: int) -> int:
    """Monday is 0; the first of January 1970 was a Thursday."""
    return (day + 3) % 7


def _unix_ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _timestamp(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid4(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _uuid7(rng: Random, unix_ms: int) -> str:
    """As `vibetel_client.event_id.uuid7` makes them, but from the seed."""
    return str(uuid.UUID(int=unix_ms << 80 | 0x7 << 76 | rng.getrandbits(12) << 64 | 0b10 << 62 | rng.getrandbits(62)))
