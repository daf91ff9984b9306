"""The portal's WSGI entry point; that of the process which receives events is ingest_wsgi.py."""

import ctypes
import os
from typing import Any

from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

application = get_wsgi_application()

_libc = ctypes.CDLL(None)


def _give_memory_back(**kwargs: Any) -> None:
    """Once an answer has gone out, within 5 to 20 ms: glibc keeps what pages took, for each thread that made one."""
    _libc.malloc_trim(0)


if hasattr(_libc, "malloc_trim"):  # glibc's own
    request_finished.connect(_give_memory_back)
