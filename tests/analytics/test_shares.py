"""Shares: of whom, of options and of models, in small histories made by hand."""

import pytest

from analytics import queries
from analytics.models import Installation
from analytics.queries import Excluded, Filter, Period, Who
from tests.analytics.history import record, run
from tests.events import NOON

pytestmark = pytest.mark.django_db


def week() -> Filter:
    return Filter(Period.ending_today("7d", NOON))


def test_who_are_people_jobs_and_agents_and_those_who_do_not_say() -> None:
    both, silent = Installation.objects.bulk_create(
        [Installation(user_id=f"00000000-0000-4000-8000-{number:012}") for number in range(2)]
    )
    record(
        [
            run(NOON, installation=both, ci=False),
            run(NOON, installation=both, ci=True),
            run(NOON, installation=both),
            run(NOON, installation=silent),
        ]
    )
    assert queries.who(week()) == [
        Who("person", runs=1, runs_share=0.25, installations=1, installations_share=0.5),
        Who("ci", runs=1, runs_share=0.25, installations=1, installations_share=0.5),
        Who("agent", runs=0, runs_share=0, installations=0, installations_share=0),
        Who("unknown", runs=2, runs_share=0.5, installations=1, installations_share=0.5),
    ]


def test_an_agent_is_one_in_ci_too() -> None:
    record([run(NOON, agent="cursor", ci=True)])
    assert {one.value: one.runs for one in queries.who(week())} == {"person": 0, "ci": 0, "agent": 1, "unknown": 0}


def test_shares_of_nothing_are_none() -> None:
    assert {(one.runs_share, one.installations_share) for one in queries.who(week())} == {(None, None)}
    assert queries.excluded(week()).share is None
    assert (queries.options(week(), NOON), queries.tree(week(), NOON)) == ([], [])


def test_options_are_shares_of_all_runs() -> None:
    record(
        [run(NOON, options={"debug": True, "quiet": True}), run(NOON, options={"debug": True}), run(NOON), run(NOON)]
    )
    assert {part.value: part.share for part in queries.options(week(), NOON)} == {"debug": 0.5, "quiet": 0.25}


def test_excluded_are_placeholders() -> None:
    record(
        [
            run(NOON, placeholder="anonymous_opt_out"),
            run(NOON, installation=Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")),
        ]
    )
    assert queries.excluded(week()) == Excluded(runs=2, placeholder_runs=1)
    assert queries.excluded(week()).share == 0.5


def test_tree_counts_an_installation_of_two_models_once_for_their_provider() -> None:
    somebody = Installation.objects.create(user_id="7d444840-9dc0-41d1-b245-5ffdce74fad2")
    record(
        [
            run(NOON, installation=somebody, provider="openai", model="gpt-4.1"),
            run(NOON, installation=somebody, provider="openai", model="o3"),
            run(NOON, installation=somebody, provider="openai", model="o3"),
            run(NOON, installation=somebody, provider="openai"),
            run(NOON, provider="gemini"),
        ]
    )
    openai, gemini = queries.tree(week(), NOON)
    assert (openai.provider.value, openai.provider.now.runs, openai.provider.now.installations) == ("openai", 4, 1)
    assert [(model.values[1], model.now.runs, model.now.installations) for model in openai.models] == [
        ("o3", 2, 1),
        ("gpt-4.1", 1, 1),
    ]
    assert (gemini.provider.value, gemini.models) == ("gemini", [])


def test_matrix_has_the_rows_and_columns_with_most_runs_first() -> None:
    record(
        [
            run(NOON, command="ask", model="gpt-4.1", prompt_tokens=100, completion_tokens=7),
            run(NOON, command="repo", model="gpt-4.1", prompt_tokens=200, has_error=True),
            run(NOON, command="repo", model="o3"),
            run(NOON, command="repo"),
        ]
    )
    found = queries.matrix(week(), NOON, "command_model")
    assert (found.rows, found.columns) == (["repo", "ask"], ["gpt-4.1", "o3"])
    assert set(found.cells) == {("repo", "gpt-4.1"), ("repo", "o3"), ("ask", "gpt-4.1")}
    asked = found.cells["ask", "gpt-4.1"]
    assert (asked.runs, asked.prompt_tokens, asked.completion_tokens) == (1, 100, 7)
    assert found.cells["repo", "gpt-4.1"].error_rate == 1
