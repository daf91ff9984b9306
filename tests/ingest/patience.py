"""Patience with Redis, for tests that are not about being late.

The endpoint answers 503 where Redis takes more than a quarter of a second, as it may beside other tests. The tests'
own process waits longer (tests/conftest.py), and so does patient_wsgi.py. test_round_trip.py, test_tally.py and
test_outage.py have the endpoint's own limits.

In: nothing. Out: round_trip.py with other limits. Next: conftest.py, patient_wsgi.py
"""

from ingest import round_trip

LIMITS = ("_OPEN_STEP_SECONDS", "_OPEN_SECONDS", "_ANSWER_SECONDS")
SERVED = {name: getattr(round_trip, name) for name in LIMITS}
PATIENT = {"_OPEN_STEP_SECONDS": 20.0, "_OPEN_SECONDS": 20.0, "_ANSWER_SECONDS": {"admit": 20.0, "push": 20.0}}


def be_patient() -> None:
    """From here on, in this process."""
    for name, limit in PATIENT.items():
        setattr(round_trip, name, limit)
