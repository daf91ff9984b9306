"""App configuration: the warehouse, and the admin site that carries the dashboards."""

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class AnalyticsConfig(AppConfig):
    """Stages from the archive object to the dashboard."""

    name = "analytics"

    def ready(self) -> None:
        """Let every migration end with the roles as roles.py has them."""
        from analytics import roles  # noqa: PLC0415  # models: not before all apps are loaded

        post_migrate.connect(roles.make, sender=self, dispatch_uid="roles")


class PortalAdminConfig(AdminConfig):
    """Django's admin with the Overview as its front page."""

    default_site = "analytics.admin.PortalSite"

    def ready(self) -> None:
        """Django's lists, and the portal's own for accounts, in the place of those that came with their apps."""
        from analytics import accounts  # noqa: PLC0415  # as above

        super().ready()
        accounts.register(admin.site)
