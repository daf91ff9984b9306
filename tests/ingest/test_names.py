"""Names: known ones always pass, unseen ones until the day's bound is reached, across processes."""

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ingest import buffer, names
from tests.events import body, event, waiting_lines

pytestmark = [pytest.mark.usefixtures("empty_buffer"), pytest.mark.urls("vibetel.ingest_urls")]


def admitted(*values: str, field: str = "model") -> list[bool]:
    """Asked one after the other."""
    return [bool(names.admit({(field, value)})) for value in values]


def test_admit_takes_so_many_new_names_a_day(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 2
    assert admitted("a", "b", "c", "a", "b", "d") == [True, True, False, True, True, False]


def test_admit_has_a_bound_for_each_field(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 1
    assert admitted("a", "b") == [True, False]
    assert admitted("a", "b", field="command") == [True, False]


def test_admit_knows_in_a_new_process_what_another_one_learnt(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 2
    admitted("a", "b", "c")
    names.forget()
    assert admitted("c", "b", "a") == [False, True, True]


def test_admit_takes_many_names_in_one_question(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 2
    admitted("a")
    found = names.admit({("model", "a"), ("model", "b"), ("model", "c"), ("model", "d"), ("command", "x")})
    assert {("model", "a"), ("command", "x")} < found
    assert len(found) == 3
    names.forget()
    assert names.admit(found) == found


def test_admit_takes_new_names_again_on_the_next_day(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 1
    admitted("a", "b")
    yesterday = int(buffer.now_ms() / 86_400_000) - 1
    buffer.connection().hset("{vibetel}:new-names", "model", f"{yesterday} 1")
    names.forget()
    assert admitted("b", "c") == [True, False]


def test_admit_asks_no_more_once_it_knows(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 1
    admitted("a", "b")
    before = buffer.connection().info("stats")["total_commands_processed"]
    admitted(*"abcdefgh")
    assert buffer.connection().info("stats")["total_commands_processed"] == before + 1  # the question itself


def test_pipeline_folds_a_flood_of_models_to_other(settings: Settings) -> None:
    settings.NEW_NAMES_PER_DAY = 3
    for number in range(6):
        assert post(event(model=f"invented-{number}")).status_code == 202
    models = [json.loads(line)["model"] for line in waiting_lines()]
    assert models == ["invented-0", "invented-1", "invented-2", "other", "other", "other"]
    assert buffer.dropped() == {"unseen:model": 3}


def test_pipeline_counts_a_name_that_is_odd() -> None:
    post(event(model="fix my login bug"))
    assert buffer.dropped() == {"odd:model": 1}


def test_pipeline_counts_what_is_on_no_list_by_name_and_bounded() -> None:
    post(event(note="x", **{"/home/alice": 1, "n" * 500: 1}))
    assert buffer.dropped() == {"field:note": 1, "field:…": 2}
    for number in range(buffer.DROPPED_NAMES_MAX // 10 + 1):
        post(event(**{f"field{number}n{n}": 1 for n in range(10)}))
    found = buffer.dropped()
    assert len(found) <= buffer.DROPPED_NAMES_MAX + 1
    assert sum(found.values()) == 3 + 10 * (buffer.DROPPED_NAMES_MAX // 10 + 1)


def post(sent: Any) -> Any:
    return Client().post("/api/pipeline", body(sent), content_type="application/json")
