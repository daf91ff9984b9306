"""Roles: three groups that hold exactly what roles.py says, and what each sees of the portal."""

from typing import Any

import pytest
from django.apps.registry import Apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from analytics import roles
from analytics.roles import ADMINISTRATOR, ANALYST, ROLES, VIEWER, Role
from tests.analytics.history import record, run

pytestmark = pytest.mark.django_db

FIGURES = ["/admin/", "/admin/data-quality/", "/api/stats/totals"]
NOTED = ["/admin/analytics/release/", "/admin/analytics/annotation/"]
SINGLE = ["/admin/analytics/event/", "/admin/analytics/event/download/", "/admin/analytics/quarantined/"]
OBJECTS = ["/admin/analytics/loadedobject/", "/admin/analytics/verification/"]
MANAGED = ["/admin/auth/user/", "/admin/auth/group/", "/admin/authtoken/tokenproxy/", "/admin/admin/logentry/"]
WRITTEN = ["/admin/analytics/release/add/", "/admin/analytics/annotation/add/", "/admin/auth/user/add/"]


def account(role: Role | None, name: str = "somebody") -> User:
    user = User.objects.create_user(name)
    roles.give(user, role)
    return user


def held(group: str) -> set[str]:
    found = Permission.objects.filter(group__name=group).values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_is_a_group_with_exactly_its_permissions(role: Role) -> None:
    assert held(role.name) == role.permissions


def test_roles_made_again_are_as_they_were_and_other_groups_stay() -> None:
    friends = Group.objects.create(name="friends")
    friends.permissions.add(Permission.objects.get(codename="view_event"))
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.set(Permission.objects.filter(codename="add_user"))
    Group.objects.get(name="analyst").delete()
    member = account(VIEWER)

    call_command("migrate", verbosity=0)

    assert {role.name: held(role.name) for role in ROLES} == {role.name: role.permissions for role in ROLES}
    assert held("friends") == {"analytics.view_event"}
    assert Group.objects.count() == 4
    assert roles.of(User.objects.get(pk=member.pk)) == VIEWER


def test_roles_wait_where_accounts_are_not_migrated_yet() -> None:
    Group.objects.all().delete()
    roles.make(apps=Apps())
    assert not Group.objects.exists()


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (None, [], FIGURES + NOTED + SINGLE + OBJECTS + MANAGED + WRITTEN),
        (VIEWER, FIGURES + NOTED, SINGLE + OBJECTS + MANAGED + WRITTEN),
        (ANALYST, FIGURES + NOTED + SINGLE + OBJECTS, MANAGED + WRITTEN),
        (ADMINISTRATOR, FIGURES + NOTED + SINGLE + OBJECTS + MANAGED + WRITTEN, []),
    ],
    ids=["none", "viewer", "analyst", "administrator"],
)
def test_role_opens_its_pages_and_no_others(
    client: Client, role: Role | None, may: list[str], may_not: list[str]
) -> None:
    record([run(timezone.now())])
    client.force_login(account(role))
    opened = {path for path in may + may_not if opens(client, path)}
    assert opened == {*may}


def opens(client: Client, path: str) -> bool:
    answer: Any = client.get(path)
    if answer.streaming:
        answer.getvalue()  # a download holds a file until it is read
    assert answer.status_code in (200, 403), path
    return bool(answer.status_code == 200)


def test_an_account_without_a_role_is_told_whom_to_ask(client: Client) -> None:
    account(ADMINISTRATOR, "ada")
    User.objects.create_superuser("root")
    User.objects.create_superuser("gone", is_active=False)
    client.force_login(account(None))
    page = client.get("/admin/").content.decode()
    assert "Your account has no role yet" in page
    assert "<b>ada</b>, <b>root</b>." in page


def test_who_may_not_is_told_what_the_role_is(client: Client) -> None:
    client.force_login(account(ANALYST))
    page = " ".join(client.get("/admin/auth/user/").content.decode().split())
    assert "Your account is an <b>analyst</b>" in page
    assert "There is no administrator" in page


def test_a_closed_account_sees_nothing() -> None:
    user = account(VIEWER)
    assert roles.sees_dashboards(user)
    user.is_active = False
    assert not roles.sees_dashboards(user)


def test_a_further_group_may_open_what_the_role_does_not(client: Client) -> None:
    friends = Group.objects.create(name="friends")
    friends.permissions.add(Permission.objects.get(codename="view_event"))
    user = account(VIEWER)
    user.groups.add(friends)
    client.force_login(user)
    assert client.get("/admin/analytics/event/").status_code == 200
    roles.give(user, ANALYST)
    assert {group.name for group in user.groups.all()} == {"friends", "analyst"}
