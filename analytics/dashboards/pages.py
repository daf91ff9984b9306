"""Pages: every dashboard there is, in the order of the sidebar. A new page is a module beside this, and a line here."""

from collections.abc import Mapping

from analytics.dashboards import overview
from analytics.dashboards.page import Page

PAGES: Mapping[str, Page] = {
    page.name: page
    for page in (
        overview.PAGE,
    )
}  # fmt: skip
