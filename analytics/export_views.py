"""Downloads of events, for the admin. Next: export.py

A download is made before it is sent, so that it has a length: without one, a file that was cut off looks whole. Until
it is sent it is a file without a name, which goes with the process.
"""

import logging
from contextlib import ExitStack
from tempfile import TemporaryFile
from threading import BoundedSemaphore
from typing import BinaryIO, cast

from django.contrib.auth.mixins import PermissionRequiredMixin
from django.db import InterfaceError, OperationalError
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views import View

from analytics import export
from analytics.export import NotUnderstood
from analytics.queries import Filter

logger = logging.getLogger(__name__)

MADE_AT_ONCE = 2
"""In a process: each keeps Postgres busy."""

OPEN_AT_ONCE = 8
"""In a process, those that are made among them: each has a thread until whoever asked has read it, and fills a disk."""

RETRY_AFTER_SECONDS = 30

_made = BoundedSemaphore(MADE_AT_ONCE)
_open = BoundedSemaphore(OPEN_AT_ONCE)


class EventsDownload(PermissionRequiredMixin, View):
    """GET ?form=csv&period=30d, with any words of a filter; `runs=1` leaves out what is no run.

    200 with the file, whole and with its length; 400 for words that are not known, 403 for who may not view events;
    405 for anything but GET, or 403 where Django takes that for forged; 503 with `Retry-After` where it cannot be made
    now, which says why.
    """

    permission_required = "analytics.view_event"
    raise_exception = True
    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The file."""
        words = request.GET.copy()
        form, runs_only = words.pop("form", ["csv"])[-1], words.pop("runs", [""])[-1] == "1"
        try:
            if form not in export.FORMS:
                raise NotUnderstood(f"There is no such form. There are: {', '.join(export.FORMS)}.")
            chosen = export.understood(words.urlencode(), timezone.now())
            return _download(chosen, form, runs_only=runs_only)
        except NotUnderstood as error:
            return _said(str(error), status=400)
        except _Unavailable as error:
            answer = _said(f"{error} Nothing was sent.", status=503)
            answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
            return answer


class _Unavailable(Exception):
    """It cannot be made now: why, and what to do."""


def _download(chosen: Filter, form: str, *, runs_only: bool) -> FileResponse:
    """The answer, with the whole file. Raises _Unavailable."""
    name = f"{'runs' if runs_only else 'events'}-{chosen.period.first}-{chosen.period.last}.{form}"
    try:
        with ExitStack() as held:
            _take(_open, held)
            file = cast("BinaryIO", held.enter_context(TemporaryFile()))
            with ExitStack() as making:
                _take(_made, making)
                for piece in export.pieces(chosen, form, runs_only=runs_only):
                    file.write(piece)
            file.seek(0)
            answer = _Sent(file, as_attachment=True, filename=name, content_type=export.MEDIA_TYPES[form])
            answer.held = held.pop_all()
    except (OperationalError, InterfaceError) as error:
        logger.exception("download failed")
        raise _Unavailable("Postgres went away before the file was whole. Try again in a minute.") from error
    except OSError as error:
        logger.exception("download failed")
        raise _Unavailable(
            f"The file cannot be kept until it is sent ({error.strerror}). Ask for a shorter period, or make room in "
            "TMPDIR of the portal; manage.py export writes to any disk."
        ) from error
    return answer


def _take(places: BoundedSemaphore, held: ExitStack) -> None:
    """A place, as long as `held` is. Raises _Unavailable."""
    if not places.acquire(blocking=False):
        raise _Unavailable("As many downloads as the portal makes at once are under way. Try again in a minute.")
    held.callback(places.release)


class _Sent(FileResponse):
    """A file, and what is held until it is sent, or whoever asked has gone."""

    block_size = 65_536
    held: ExitStack

    def close(self) -> None:
        """Once: servers may close twice."""
        super().close()
        self.held.close()


def _said(text: str, *, status: int) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
