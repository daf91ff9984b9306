"""Downloads of events, for the admin. Next: export.py"""

from django.contrib.auth.mixins import PermissionRequiredMixin
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.views import View

from analytics import export
from analytics.export import NotUnderstood
from analytics.queries import Filter


class EventsDownload(PermissionRequiredMixin, View):
    """GET ?form=csv&period=30d, with any words of a filter; `runs=1` leaves out what is no run.

    200 with the file, which is made while it is sent; 400 for words that are not known, 403 for who may not view
    events, 405.
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
        except NotUnderstood as error:
            return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
        return StreamingHttpResponse(
            export.pieces(chosen, form, runs_only=runs_only),
            content_type=export.MEDIA_TYPES[form],
            headers={
                "Content-Disposition": f'attachment; filename="{_name(chosen, runs_only)}.{form}"',
                "Cache-Control": "no-store",
            },
        )


def _name(chosen: Filter, runs_only: bool) -> str:
    return f"{'runs' if runs_only else 'events'}-{chosen.period.first}-{chosen.period.last}"
