"""Beat loads no tasks, and sends those that workers know."""

import os
import subprocess
import sys

from tests.vibetel.programs import CHECKOUT
from vibetel import start
from vibetel.celery import app

_WHAT_IT_LOADS = """
import django.apps, logging
from vibetel.celery import app
app.loader.init_worker()
print(django.apps.apps.ready, [name for name in app.tasks if not name.startswith("celery.")], logging.getLogger().level)
"""


def test_beat_loads_neither_tasks_nor_apps_and_has_the_portals_log() -> None:
    at = start.beat_command().index(sys.executable)
    variables = dict(given.split("=") for given in start.beat_command()[1:at])
    said = subprocess.run(
        [sys.executable, "-c", _WHAT_IT_LOADS],
        env=os.environ | variables | {"LOG_LEVEL": "ERROR"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "False [] 40\n"


def test_beat_asks_for_tasks_that_there_are() -> None:
    app.loader.import_default_modules()
    assert {job["task"] for job in app.conf.beat_schedule.values()} <= set(app.tasks)
