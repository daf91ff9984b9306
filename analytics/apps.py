"""App configuration: the warehouse, and the admin site that carries the dashboards."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class AnalyticsConfig(AppConfig):
    """Stages from the archive object to the dashboard."""

    name = "analytics"


class PortalAdminConfig(AdminConfig):
    """Django's admin with the Overview as its front page."""

    default_site = "analytics.admin.PortalSite"
