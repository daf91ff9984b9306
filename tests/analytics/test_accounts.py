"""Accounts: roles are given in a form, tokens show no key but once, and the audit log can be read."""

from importlib import import_module
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from rest_framework.authtoken.models import Token

from analytics import roles
from analytics.roles import ADMINISTRATOR, ANALYST, VIEWER

pytestmark = pytest.mark.django_db

ADD = "/admin/auth/user/add/"
LOG = "/admin/admin/logentry/"
PASSWORD = "correct horse battery"


@pytest.fixture
def ada() -> User:
    """An administrator that the admin made, not manage.py."""
    user = User.objects.create_user("ada")
    roles.give(user, ADMINISTRATOR)
    return user


@pytest.fixture
def admin(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def change(user: User) -> str:
    return f"/admin/auth/user/{user.pk}/change/"


def save(client: Client, user: User, **fields: Any) -> None:
    """Send the form of an account; is_active is a box that is ticked."""
    answer = client.post(change(user), {"username": user.username, "is_active": "on", **fields})
    assert answer.status_code == 302, answer.context["errors"]


@pytest.mark.parametrize("role", ["viewer", "analyst", "administrator", ""])
def test_an_account_is_made_with_a_role(admin: Client, role: str) -> None:
    fields = {"username": "new", "password1": PASSWORD, "password2": PASSWORD, "role": role}
    assert admin.post(ADD, fields).status_code == 302
    made = User.objects.get(username="new")
    assert (roles.of(made), made.is_staff, made.is_superuser) == (roles.named(role), True, False)


def test_roles_are_offered_in_plain_words(admin: Client) -> None:
    page = admin.get(ADD).content.decode()
    assert "Viewer: sees all figures, but no single event" in page
    assert "is_staff" not in page
    assert "user_permissions" not in page


def test_a_short_or_a_common_password_is_refused(admin: Client) -> None:
    for password in ("x7Q!pm2z", "q1w2e3r4t5y6", "123412341234123412"):
        fields = {"username": "new", "password1": password, "password2": password, "role": "viewer"}
        assert admin.post(ADD, fields).status_code == 200
    assert not User.objects.filter(username="new").exists()


def test_a_role_is_changed_and_further_groups_stay(admin: Client) -> None:
    friends = Group.objects.create(name="friends")
    user = User.objects.create_user("vera")
    roles.give(user, VIEWER)
    save(admin, user, role="analyst", groups=[friends.pk])
    assert {group.name for group in user.groups.all()} == {"analyst", "friends"}
    save(admin, user, role="", groups=[friends.pk])
    assert {group.name for group in user.groups.all()} == {"friends"}


def test_nobody_takes_the_role_from_oneself(admin: Client, ada: User) -> None:
    admin.post(change(ada), {"username": "ada", "role": ""})
    ada = User.objects.get(pk=ada.pk)
    assert (roles.of(ada), ada.is_active) == (ADMINISTRATOR, True)


def test_a_superuser_stays_an_administrator(admin: Client) -> None:
    root = User.objects.create_superuser("root")
    save(admin, root, role="viewer")
    assert roles.of(User.objects.get(pk=root.pk)) == ADMINISTRATOR


@pytest.mark.parametrize("path", ["change", "delete"])
def test_groups_of_roles_are_only_looked_at(admin_client: Client, path: str) -> None:
    group = Group.objects.get(name="viewer")
    assert admin_client.get(f"/admin/auth/group/{group.pk}/change/").status_code == 200
    assert admin_client.post(f"/admin/auth/group/{group.pk}/{path}/", {"post": "yes", "name": "x"}).status_code == 403


def test_an_administrator_lifts_a_lock(admin: Client) -> None:
    user = User.objects.create_user("vera")
    for name in ("vera", "other"):
        AccessAttempt.objects.create(username=name, ip_address="fd00::1", failures_since_start=5)
    admin.post("/admin/auth/user/", {"action": "lift_lock", "_selected_action": [user.pk]})
    assert [attempt.username for attempt in AccessAttempt.objects.all()] == ["other"]
    [entry] = LogEntry.objects.all()
    assert (entry.object_repr, entry.get_change_message()) == ("vera", "Lifted the lock after failed logins.")


# -- Tokens -----------------------------------------------------------------------------------------------------------


def test_the_key_of_a_token_is_on_its_own_page_alone(admin: Client) -> None:
    bob = User.objects.create_user("bob")
    roles.give(bob, VIEWER)
    made = admin.post("/admin/authtoken/tokenproxy/add/", {"user": bob.pk}, follow=True)
    key = Token.objects.get().key
    assert made.redirect_chain[-1][0] == f"/admin/authtoken/tokenproxy/{bob.pk}/change/"
    assert made.content.decode().count(key) == 1
    assert 'name="_save"' not in made.content.decode()  # there is nothing to change in it
    others = ["/admin/authtoken/tokenproxy/", f"/admin/authtoken/tokenproxy/{bob.pk}/delete/", LOG]
    others += [f"/admin/auth/user/{bob.pk}/delete/", f"/admin/authtoken/tokenproxy/{bob.pk}/history/"]
    for path in others:
        page = admin.get(path)
        assert page.status_code == 200, path
        assert key not in page.content.decode(), path


def test_the_audit_log_knows_no_key(admin: Client, ada: User) -> None:
    admin.post("/admin/authtoken/tokenproxy/add/", {"user": ada.pk})
    key = Token.objects.get().key
    admin.post(f"/admin/authtoken/tokenproxy/{ada.pk}/delete/", {"post": "yes"})
    assert not Token.objects.exists()
    entries = LogEntry.objects.values_list("object_id", "object_repr", "change_message")
    assert [repr_ for _, repr_, _ in entries] == ["token of ada", "token of ada"]
    assert key not in str([*entries])


def test_keys_in_an_older_audit_log_are_forgotten(ada: User) -> None:
    key, of_token = "0123456789abcdef" * 2 + "01234567", ContentType.objects.get_for_model(Token)
    for content_type, repr_ in ((of_token, key), (ContentType.objects.get_for_model(User), "vera")):
        LogEntry.objects.create(
            user=ada, content_type=content_type, object_id=key, object_repr=repr_, action_flag=ADDITION
        )
    migration = import_module("analytics.migrations.0007_forget_token_keys").Migration
    with connection.cursor() as cursor:
        for operation in migration.operations:
            cursor.execute(operation.sql)
    found = LogEntry.objects.order_by("pk").values_list("object_id", "object_repr")
    assert [*found] == [(None, "token"), (key, "vera")]


# -- Deletion ---------------------------------------------------------------------------------------------------------


def test_deleting_an_account_says_what_goes_with_it_and_no_rows_of_django(admin: Client) -> None:
    user = User.objects.create_user("vera")
    roles.give(user, VIEWER)
    Token.objects.create(user=user)
    page = admin.get(f"/admin/auth/user/{user.pk}/delete/").content.decode()
    assert "API tokens that go with it: 1" in page
    assert "relationship" not in page


def test_an_account_that_the_audit_log_names_is_not_deleted_and_the_page_says_what_to_do(admin: Client) -> None:
    bob = User.objects.create_user("bob")
    LogEntry.objects.log_actions(bob.pk, [bob], ADDITION, single_object=True)
    page = admin.get(f"/admin/auth/user/{bob.pk}/delete/").content.decode()
    assert "Close it instead: untick “Active”" in page
    assert "would result in deleting" not in page
    assert admin.post(f"/admin/auth/user/{bob.pk}/delete/", {"post": "yes"}).status_code == 403


# -- Audit log --------------------------------------------------------------------------------------------------------


def test_the_audit_log_says_who_did_what(admin: Client) -> None:
    user = User.objects.create_user("vera")
    save(admin, user, role="analyst")
    page = admin.get(LOG)
    text = page.content.decode()
    cells = (
        ("who", "ada"),
        ("action", "changed"),
        ("kind", "user"),
        ("which", "vera"),
        ("what", "Changed role to analyst."),
    )
    for field, value in cells:
        assert f'<td class="field-{field}">{value}</td>' in text
    assert admin.post(f"{LOG}{LogEntry.objects.get().pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_audit_log_is_searched_by_name(admin: Client) -> None:
    for name in ("vera", "vincent"):
        user = User.objects.create_user(name)
        roles.give(user, ANALYST)
        save(admin, user, role="viewer")
    rows = admin.get(LOG, {"q": "vinc"}).context["cl"].result_list
    assert [entry.object_repr for entry in rows] == ["vincent"]


def test_nobody_deletes_the_own_account_nor_one_that_manage_py_made(admin: Client, ada: User) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    bob = User.objects.create_user("bob")
    for user, status in ((ada, 403), (root, 403), (bob, 302)):
        assert admin.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}).status_code == status
    assert set(User.objects.values_list("username", flat=True)) == {"ada", "root"}
    assert b"delete_selected" not in admin.get("/admin/auth/user/").content
