"""Consent: nothing but a saved yes is a yes, and a variable that opts out beats it."""

import itertools

import pytest
from vibetel_client.consent import Consent, decide

ON = ["1", "true", "TRUE", "yes", "on", "2", " 1 ", "anything"]
OFF = [None, "", "0", "false", "False", "no", "NO", "off", " off ", "  "]
SAVED = {True: Consent.ENABLED, False: Consent.OPTED_OUT, None: Consent.PENDING}


def environ(no_telemetry: "str | None", do_not_track: "str | None") -> dict[str, str]:
    values = {"VIBE_TOOLS_NO_TELEMETRY": no_telemetry, "DO_NOT_TRACK": do_not_track}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("saved", SAVED)
def test_consent_is_the_saved_choice_where_no_variable_opts_out(saved: "bool | None") -> None:
    for no_telemetry, do_not_track in itertools.product(OFF, OFF):
        assert decide("vibe-tools", environ(no_telemetry, do_not_track), saved) is SAVED[saved]


@pytest.mark.parametrize("saved", SAVED)
def test_consent_is_refused_by_either_variable_whatever_was_saved(saved: "bool | None") -> None:
    for no_telemetry, do_not_track in [*itertools.product(ON, [*ON, *OFF]), *itertools.product(OFF, ON)]:
        assert decide("vibe-tools", environ(no_telemetry, do_not_track), saved) is Consent.OPTED_OUT


def test_consent_ignores_the_variable_of_another_tool() -> None:
    assert decide("vibe-tools", {"OTHER_NO_TELEMETRY": "1"}, True) is Consent.ENABLED
