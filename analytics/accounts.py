"""Accounts: the admin's lists of accounts, groups, tokens, and of who changed what (the audit log).

An account has a role (roles.py); what else Django's accounts can hold, such as single permissions, is not offered.
"""

from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import UserChangeForm, UserCreationForm
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from rest_framework.authtoken.admin import TokenAdmin as BaseTokenAdmin
from rest_framework.authtoken.models import Token, TokenProxy

from analytics import roles
from analytics.dashboards import wording
from analytics.lists import ReadOnly, flag, moment

_ROLE_NAMES = [role.name for role in roles.ROLES]


def register(site: admin.AdminSite) -> None:
    """Put these lists in the place of those that the apps brought."""
    for kind in (Token, TokenProxy):
        kind._meta.verbose_name, kind._meta.verbose_name_plural = "API token", "API tokens"  # others are a model's
    for model, shown in ((User, AccountAdmin), (Group, PortalGroupAdmin), (TokenProxy, TokenAdmin)):
        site.unregister(model)
        site.register(model, shown)
    site.register(LogEntry, AuditLogAdmin)
    site.login_form = LoginForm
    # A token's text is its key, which Django would write into pages, messages and the audit log.
    Token.__str__ = _without_key  # type: ignore[method-assign, assignment]


def _without_key(token: Token) -> str:
    return f"token of {token.user}"


class LoginForm(AdminAuthenticationForm):
    """Django's, in words for people who know no staff accounts."""

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": "This name and this password do not go together, or the account is closed. Case matters.",
    }


# -- Accounts ---------------------------------------------------------------------------------------------------------


def _role_field() -> forms.ChoiceField:
    return forms.ChoiceField(
        choices=[
            *((role.name, f"{role.name.capitalize()}: {role.words}") for role in roles.ROLES),
            ("", "None: sees nothing but whom to ask"),
        ],
        widget=forms.RadioSelect,
        required=False,
        initial=roles.VIEWER.name,
    )


class _AddAccount(UserCreationForm):  # type: ignore[type-arg]  # generic in the stubs only
    role = _role_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["username"].widget.attrs["autofocus"]  # change_form.js does it


class _ChangeAccount(UserChangeForm):  # type: ignore[type-arg]
    role = _role_field()
    own = False
    """Whether it is the account of whoever fills in the form."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "role" not in self.fields:
            return  # who may look, and not change
        role = roles.of(self.instance)
        self.fields["role"].initial = role.name if role else ""
        if self.instance.is_superuser:
            self._fix("role", "Made by manage.py: it stays an administrator.")
        if self.own:
            self._fix("role", "Your own account: another administrator can change this.")
            self._fix("is_active", "Your own account: another administrator can change this.")

    def _fix(self, name: str, why: str) -> None:
        self.fields[name].disabled = True
        self.fields[name].help_text = why


class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts with their roles."""

    form = _ChangeAccount
    add_form = _AddAccount
    list_display = ("username", "role", "full_name", "email", "active", "last_login_at")
    search_help_text = "By a part of a name or of an e-mail address"
    list_filter = ("is_active", "groups")
    sortable_by = ("username", "email", "last_login_at")
    show_facets = admin.ShowFacets.NEVER
    empty_value_display = wording.NOTHING
    actions = ("lift_lock",)
    fieldsets = (
        (None, {"fields": ("username", "password", "role", "is_active")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Further groups", {"fields": ("groups",)}),
        ("Dates", {"fields": ("last_login_at", "date_joined_at")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("username", "password1", "password2", "role")}),)
    filter_horizontal = ()
    readonly_fields = ("last_login_at", "date_joined_at")

    active = flag("is_active", "active")
    last_login_at = moment("last_login")
    date_joined_at = moment("date_joined", label="made")

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Without further groups, where there are none."""
        sets = super().get_fieldsets(request, obj)
        if obj is None or _further_groups().exists():
            return sets
        return [one for one in sets if one[0] != "Further groups"]

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Nobody takes the role from oneself, or closes one's own account: somebody has to be left who can."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.own = obj is not None and obj.pk == request.user.pk  # a class of this request
        return form

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Groups other than the roles', to be ticked."""
        if db_field.name == "groups":
            kwargs |= {"queryset": _further_groups(), "widget": forms.CheckboxSelectMultiple, "help_text": ""}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """As above, without buttons to make or change groups from here."""
        return _without_buttons(super().formfield_for_dbfield(db_field, request, **kwargs))

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """As Django words it for the audit log, with the role that was given."""
        said = super().construct_change_message(request, form, formsets, add)
        for part in said:
            if "role" in (fields := part.get("changed", {}).get("fields", [])):
                fields[fields.index("role")] = f"role to {form.cleaned_data['role'] or 'none'}"
        return said

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Groups as they were ticked, then the role."""
        super().save_related(request, form, formsets, change)
        roles.give(form.instance, roles.named(form.cleaned_data["role"]))

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """With their groups, for the role."""
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="role")
    def role(self, user: User) -> str:
        """By its name."""
        held = roles.of(user)
        return held.name if held else "none"

    @admin.display(description="name")
    def full_name(self, user: User) -> str:
        """As it was given."""
        return user.get_full_name()

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Not one's own, nor what `manage.py` made: somebody has to be left who can."""
        if obj and (obj.pk == request.user.pk or obj.is_superuser):
            return False
        return super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> Any:
        """Accounts are deleted one by one: many at once would not ask about each."""
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description="Let them log in again: lift the lock after failed logins", permissions=["change"])
    def lift_lock(self, request: HttpRequest, accounts: QuerySet[User]) -> None:
        """What `manage.py axes_reset_username` does."""
        for account in accounts:
            AxesProxyHandler.reset_attempts(username=account.get_username())
            self.log_change(request, account, "Lifted the lock after failed logins.")
        names = ", ".join(account.get_username() for account in accounts)
        messages.success(request, f"{names} may log in again.")


def _without_buttons(field: Any) -> Any:
    """A field with its own widget, without the one that Django's admin puts around it."""
    if field and isinstance(field.widget, RelatedFieldWidgetWrapper):
        field.widget = field.widget.widget
    return field


def _further_groups() -> QuerySet[Group]:
    return Group.objects.exclude(name__in=_ROLE_NAMES)


class PortalGroupAdmin(GroupAdmin):
    """Groups. What the roles' groups may do is in roles.py: they are only looked at."""

    list_display = ("name", "means")
    sortable_by = ("name",)
    search_fields = ()
    filter_horizontal = ()

    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        """What a role may do in words; its permissions are many."""
        return ("name", "means") if _is_role(obj) else ("name", "permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        """The words."""
        return ("means",)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        """Permissions that something in the portal asks for, to be ticked: those of the role that has them all."""
        kwargs["widget"] = forms.CheckboxSelectMultiple
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.queryset = roles.permissions(Permission.objects, roles.ADMINISTRATOR)
        field.help_text = ""
        field.label_from_instance = lambda permission: permission.name
        return field

    @admin.display(description="may do")
    def means(self, group: Group) -> str:
        """In words, of a role."""
        role = roles.named(group.name)
        return role.words if role else "what was chosen for it"

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Not the roles'."""
        return not _is_role(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Not the roles'."""
        return not _is_role(obj) and super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """None: deleting several would delete roles."""
        return {}


def _is_role(group: Group | None) -> bool:
    return group is not None and roles.named(group.name) is not None


# -- Tokens -----------------------------------------------------------------------------------------------------------


class TokenAdmin(BaseTokenAdmin):
    """Tokens of the stats API. The key is on the page of the one token, and nowhere else."""

    nothing = "Nobody has one yet. With one, a script reads the figures of /api/stats/."
    list_display = ("user", "made")
    list_filter = ()
    fields = ("user", "key", "made")
    search_help_text = "By the name of the account"

    made = moment("created", label="made")

    def get_readonly_fields(self, request: HttpRequest, obj: TokenProxy | None = None) -> Any:
        """Whose it is, is chosen once."""
        return ("user", "key", "made") if obj else ("key", "made")

    def get_fields(self, request: HttpRequest, obj: TokenProxy | None = None) -> Any:
        """A new one has no key yet."""
        return self.fields if obj else ("user",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """An account that may use a token, and has none yet."""
        kwargs["queryset"] = User.objects.filter(is_active=True, is_staff=True, auth_token=None).order_by("username")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """As above, without buttons to make or change accounts from here."""
        return _without_buttons(super().formfield_for_dbfield(db_field, request, **kwargs))

    def has_change_permission(self, request: HttpRequest, obj: TokenProxy | None = None) -> bool:
        """Nobody: there is nothing to change in one."""
        return False

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """With one way to save: it leads to the key."""
        one = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, {**context, **one}, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: TokenProxy, post_url_continue: str | None = None) -> HttpResponse:
        """To the page with the key."""
        posted: Any = request.POST.copy()
        posted["_continue"] = "1"
        request.POST = posted
        return super().response_add(request, obj, post_url_continue)


# -- Audit log --------------------------------------------------------------------------------------------------------

_DONE = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


class AuditLogAdmin(ReadOnly):
    """Who changed what in the admin, the newest first."""

    heading = "Audit log"
    nothing = "Nobody has changed anything here yet."
    list_display = ("time", "who", "action", "kind", "which", "what")
    list_display_links = None
    list_select_related = ("user", "content_type")
    ordering = ("-action_time",)
    sortable_by = ()
    search_fields = ("user__username", "object_repr")
    search_help_text = "By the name of who did it, or of what it was done to"

    time = moment("action_time", label="when")

    @admin.display(description="who")
    def who(self, entry: LogEntry) -> str:
        """By name."""
        return entry.user.get_username()

    @admin.display(description="did")
    def action(self, entry: LogEntry) -> str:
        """In a word."""
        return _DONE.get(entry.action_flag, "")

    @admin.display(description="to what")
    def kind(self, entry: LogEntry) -> str:
        """The kind of thing."""
        return entry.content_type.name if entry.content_type else ""

    @admin.display(description="which")
    def which(self, entry: LogEntry) -> str:
        """The name that it had."""
        return entry.object_repr

    @admin.display(description="change")
    def what(self, entry: LogEntry) -> str:
        """As Django words it; for an addition the first columns say it all."""
        return "" if entry.is_addition() else entry.get_change_message()
