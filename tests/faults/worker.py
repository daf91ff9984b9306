"""A Celery worker that can be made to kill itself between any two steps: `python -m tests.faults.worker -A vibetel …`

In: celery's own arguments, DATA_DIR. Out: the worker; it ends where the point is that killer.py armed (points.py).
"""

import os
import sys
from pathlib import Path

import django
from celery.__main__ import main

from tests.faults import points

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")
    django.setup()
    points.install(points.Armed(Path(os.environ["DATA_DIR"])).fires)
    sys.exit(main())
