"""Pages: every dashboard there is, in the order of the sidebar. A new page is a module beside this, and a line here."""

from collections.abc import Mapping

from analytics.dashboards import (
    command,
    commands,
    error,
    errors,
    model,
    models,
    overview,
    performance,
    tokens,
    users,
    version,
    versions,
)
from analytics.dashboards.page import Page

PAGES: Mapping[str, Page] = {
    page.name: page
    for page in (
        overview.PAGE,
        commands.PAGE,
        command.PAGE,
        versions.PAGE,
        version.PAGE,
        models.PAGE,
        model.PAGE,
        tokens.PAGE,
        performance.PAGE,
        errors.PAGE,
        error.PAGE,
        users.PAGE,
    )
}  # fmt: skip
