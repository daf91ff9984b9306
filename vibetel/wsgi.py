"""The portal's WSGI entry point; that of the process which receives events is ingest_wsgi.py."""

import ctypes
import os
from pathlib import Path
from typing import Any

from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

application = get_wsgi_application()

_KEPT_MAX_BYTES = 192 * 1_048_576  # pages of a month stay below, and find their memory where the last one left it
_libc = ctypes.CDLL(None)


def _give_memory_back(**kwargs: Any) -> None:
    """Once an answer has gone out, within 5 to 20 ms: glibc keeps what pages took, for each thread that made one."""
    _, resident_pages, *_ = Path("/proc/self/statm").read_text().split()
    if int(resident_pages) * os.sysconf("SC_PAGE_SIZE") > _KEPT_MAX_BYTES:
        _libc.malloc_trim(0)


if hasattr(_libc, "malloc_trim"):  # glibc's own
    request_finished.connect(_give_memory_back)
