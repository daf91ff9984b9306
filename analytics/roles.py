"""Roles: who sees and does what.

In: accounts. Out: the groups viewer, analyst and administrator, and answers to "may this account?". Next: accounts.py

`manage.py migrate` makes the groups and gives each exactly the permissions below, every time: what a role may do stands
here, and nowhere else. Who is to do something else gets a group of another name. docs/accounts.md says it in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q

VIEW_DASHBOARDS = "analytics.view_dashboards"
"""What every page of figures asks for, and the stats API."""


@dataclass(frozen=True)
class Role:
    """A group that the portal makes; `words` say what it may do."""

    name: str
    words: str
    permissions: frozenset[str]


def _all(*models: str) -> set[str]:
    """Whatever there is to be done with these."""
    split = (model.split(".") for model in models)
    return {f"{app}.{verb}_{model}" for app, model in split for verb in ("view", "add", "change", "delete")}


_VIEWER = {VIEW_DASHBOARDS, "analytics.view_release", "analytics.view_annotation"}
_ANALYST = _VIEWER | {
    "analytics.view_event",
    "analytics.view_loadedobject",
    "analytics.view_quarantined",
    "analytics.view_verification",
}
_ADMINISTRATOR = (
    _ANALYST
    | {"analytics.add_release", "analytics.change_release", "admin.view_logentry"}
    | _all("analytics.annotation", "auth.user", "auth.group", "authtoken.tokenproxy")
)

VIEWER = Role("viewer", "sees all figures, but no single event", frozenset(_VIEWER))
ANALYST = Role(
    "analyst",
    "sees figures, single events, archive objects and the shape of quarantined lines, and downloads events",
    frozenset(_ANALYST),
)
ADMINISTRATOR = Role(
    "administrator",
    "does what an analyst does, manages accounts, groups, tokens, releases and annotations, reads the audit log",
    frozenset(_ADMINISTRATOR),
)
ROLES: Sequence[Role] = (VIEWER, ANALYST, ADMINISTRATOR)
"""From the least to the most."""

_NAMES = [role.name for role in ROLES]


def named(name: str) -> Role | None:
    """The role of this name."""
    return next((role for role in ROLES if role.name == name), None)


# -- The groups -------------------------------------------------------------------------------------------------------


def make(*, using: str = DEFAULT_DB_ALIAS, apps: Apps = installed_apps, **signal: Any) -> None:
    """Make the groups, and bring their permissions up to date. After each migration, and after each flush.

    Permissions are rows that Django makes after migrations, app by app; those needed here are made first. Where
    accounts are not migrated yet, nothing is made: the migration that brings them comes by here, too.
    """
    try:
        groups = apps.get_model("auth", "Group").objects.using(using)
        known = apps.get_model("auth", "Permission").objects.using(using)
        for label in sorted({name.split(".")[0] for name in ADMINISTRATOR.permissions}):
            apps.get_app_config(label)
            create_permissions(installed_apps.get_app_config(label), verbosity=0, using=using, apps=apps)
    except LookupError:
        return
    for role in ROLES:
        groups.get_or_create(name=role.name)[0].permissions.set(permissions(known, role))


def permissions(known: Any, role: Role) -> Any:
    """Of known permissions, as a manager or queryset has them, those of a role."""
    wanted = Q()
    for name in role.permissions:
        app, codename = name.split(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    return known.filter(wanted)


def give(user: User, role: Role | None) -> None:
    """Let this be the account's role; without one it may enter, and see whom to ask. Its other groups stay."""
    user.groups.remove(*Group.objects.filter(name__in=_NAMES))
    if role:
        user.groups.add(Group.objects.get(name=role.name))
    user.is_staff = True
    user.save(update_fields=["is_staff"])


# -- May this account? ------------------------------------------------------------------------------------------------


def of(user: User) -> Role | None:
    """The account's role, the highest if it has several. A superuser, which `manage.py` makes, is an administrator."""
    if user.is_superuser:
        return ADMINISTRATOR
    held = {group.name for group in user.groups.all()}
    return next((role for role in reversed(ROLES) if role.name in held), None)


def sees_dashboards(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether the account may see figures: it may enter the portal, and a role or a group of it says so."""
    return isinstance(user, User) and user.is_active and user.is_staff and user.has_perm(VIEW_DASHBOARDS)


def require_dashboards(user: AbstractBaseUser | AnonymousUser) -> None:
    """Raises PermissionDenied, which becomes a page that says whom to ask."""
    if not sees_dashboards(user):
        raise PermissionDenied


def administrators() -> list[str]:
    """The names of those who can give a role, at most five."""
    those = User.objects.filter(Q(is_superuser=True) | Q(groups__name=ADMINISTRATOR.name), is_active=True)
    return [*those.order_by("username").values_list("username", flat=True).distinct()[:5]]
