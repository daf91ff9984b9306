"""The warehouse. Derived from the archive: dropped and loaded again it shows the same figures.

But for the last four: two say what was seen when, and two what people know of it. A rebuild leaves these alone.

Each index names the query it serves. A serial number is there to find the row again that names it.
"""

from django.db import models


class LoadedObject(models.Model):
    """The ledger: one row is one archive object that the loader has dealt with, for good.

    Written by load.py in the transaction of the object's rows; never pruned.
    `rows = loaded_rows + duplicate_rows + quarantined_rows`, but for a foreign object, whose rows nobody counted.
    """

    class State(models.TextChoices):
        """What became of the object."""

        LOADED = "loaded", "Loaded"
        QUARANTINED = "quarantined", "Unreadable, kept aside"
        FOREIGN = "foreign", "Not written by this portal, left alone"
        HISTORY = "history", "Not written by this portal, loaded on request"

    # Collation C sorts as the bucket lists. Which of some names are known, all names in their order (verify.py), and
    # those that begin so, for the list of objects.
    name = models.CharField(max_length=1024, unique=True, db_collation="C")
    state = models.CharField(max_length=11, choices=State.choices)
    reason = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField()
    etag = models.CharField(max_length=128)
    imported = models.BooleanField(help_text="Came into the bucket otherwise than through this portal's buffer.")
    rows = models.IntegerField(default=0)
    loaded_rows = models.IntegerField(default=0)
    duplicate_rows = models.IntegerField(default=0)
    quarantined_rows = models.IntegerField(default=0)
    pruned_rows = models.IntegerField(default=0, help_text="Of the loaded rows, those that prune.py removed from here.")
    loaded_at = models.DateTimeField()

    class Meta:
        verbose_name = "archive object"
        indexes = [
            # How fresh the figures are, on every page.
            models.Index(fields=["loaded_at"], name="loaded_object_loaded_at"),
        ]

    def __str__(self) -> str:
        return self.name


class LoadProgress(models.Model):
    """One row: how far the warehouse is. Written by load.py and prune.py."""

    relist_from = models.CharField(
        max_length=1024, db_collation="C", blank=True, help_text="From which name on the loader lists the bucket next."
    )
    pruned_before = models.DateTimeField(null=True, help_text="Events before this UTC midnight were removed from here.")

    def __str__(self) -> str:
        return self.relist_from


class Installation(models.Model):
    """One row is one `userId` that is no placeholder. Its small id is what rollups' sets hold.

    Written by load.py; the days by rollups.py, from the sets of days, so that they outlive its events.
    """

    id = models.AutoField(primary_key=True)
    user_id = models.UUIDField(unique=True)  # whose number it is, for events that come
    first_seen = models.DateField(null=True, help_text="UTC day of its first run; None before that is in the rollups.")
    last_seen = models.DateField(null=True, help_text="UTC day of its last run.")

    class Meta:
        indexes = [
            # Who is new in a range of days.
            models.Index(fields=["first_seen"], name="installation_first_seen"),
        ]

    def __str__(self) -> str:
        return str(self.user_id)


class Event(models.Model):
    """One row is one event; of several copies, the one received first. Written by load.py, removed by prune.py.

    A run is an event with `duration_ms`; a `command_error` without is the twin of a run already counted.
    The columns after `session_id` are those of the contract, by its attributes' names. Foreign keys are not checked by
    Postgres, which takes a sixth of the time for loading: load.py alone writes them, from joins; verify.py looks.
    """

    event_id = models.UUIDField(primary_key=True)  # another copy of an event that comes; a page of one event
    event_name = models.CharField(max_length=16)
    occurred_at = models.DateTimeField(help_text="By the client's clock, corrected; by ours where it is implausible.")
    received_at = models.DateTimeField()
    clock_is_server = models.BooleanField(help_text="The client's clock was implausible.")
    installation = models.ForeignKey(
        Installation,
        models.PROTECT,
        null=True,
        db_index=False,
        db_constraint=False,
        help_text="None for a placeholder.",
    )
    placeholder = models.CharField(max_length=32, blank=True)
    session_id = models.UUIDField()
    tool_version = models.CharField(max_length=64)
    command = models.CharField(max_length=255)
    duration_ms = models.BigIntegerField(null=True)
    context_tokens = models.BigIntegerField(null=True)
    prompt_tokens = models.BigIntegerField(null=True)
    completion_tokens = models.BigIntegerField(null=True)
    provider = models.CharField(max_length=64, null=True)
    model = models.CharField(max_length=100, null=True)
    file_provider = models.CharField(max_length=64, null=True)
    file_model = models.CharField(max_length=100, null=True)
    thinking_provider = models.CharField(max_length=64, null=True)
    thinking_model = models.CharField(max_length=100, null=True)
    options = models.JSONField(null=True)
    has_error = models.BooleanField(null=True)
    error_type = models.CharField(max_length=100, null=True)
    os = models.CharField(max_length=16, null=True)
    python_version = models.CharField(max_length=16, null=True)
    ci = models.BooleanField(null=True)
    agent = models.CharField(max_length=64, null=True)
    interactive = models.BooleanField(null=True)
    lost_count = models.IntegerField(null=True)
    source_object = models.ForeignKey(LoadedObject, models.PROTECT, db_index=False, db_constraint=False)
    source_line = models.IntegerField()

    class Meta:
        indexes = [
            # An hour's events, for its rollups; the newest events, for the events list.
            models.Index(fields=["occurred_at"], name="event_occurred_at"),
        ]

    def __str__(self) -> str:
        return str(self.event_id)


class Quarantined(models.Model):
    """One row is one archive line that the loader could not read, kept until it can. Written by load.py."""

    source_object = models.ForeignKey(LoadedObject, models.CASCADE, db_index=False)
    source_line = models.IntegerField()
    reason = models.CharField(max_length=64)
    payload = models.BinaryField()

    class Meta:
        verbose_name = "quarantined line"
        constraints = [
            # An object's lines, for verify.py, and to know that there are none where it goes.
            models.UniqueConstraint(fields=["source_object", "source_line"], name="quarantined_once"),
        ]

    def __str__(self) -> str:
        return f"line {self.source_line} of {self.source_object}"


class TouchedHour(models.Model):
    """One row is an hour whose rollups are older than its events. Written by load.py, removed by rollups.py."""

    hour = models.DateTimeField(primary_key=True)  # the newest, to recompute; any before a day, to prune that

    def __str__(self) -> str:
        return self.hour.isoformat()


class Value(models.Model):
    """One row is one value of a dimension, such as a command's name, and the number that rollups have for it.

    Dimensions and numbers: dimensions.py. A number is for good, and never 0, which is "none". Written by runs.py.
    """

    dimension = models.CharField(max_length=16)
    number = models.IntegerField()
    value = models.CharField(max_length=255)

    class Meta:
        constraints = [
            # The number of a value, for rollups and filters.
            models.UniqueConstraint(fields=["dimension", "value"], name="value_once"),
            # The value of a number, for pages.
            models.UniqueConstraint(fields=["dimension", "number"], name="value_number_once"),
        ]

    def __str__(self) -> str:
        return f"{self.dimension} {self.value}"


class HourlyRollup(models.Model):
    """One UTC hour's runs, each as numbers only: the finest rollup, for parts of days.

    Recomputed from the hour's events; an hour without runs has no row. Written by rollups.py.
    """

    hour = models.DateTimeField(primary_key=True)  # a day's hours
    runs = models.IntegerField()
    packed = models.BinaryField(help_text="Columns of numbers (runs.py).")

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"


class DailyRollup(models.Model):
    """One UTC day's runs with one value of a dimension: `total` has the value 0, as have runs without a value.

    Recomputed from the day's hours. `runs` counts events with a duration, `failures` those of them with `has_error`,
    `placeholder_runs` those by nobody in particular. Written by rollups.py.
    """

    day = models.DateField()
    dimension = models.CharField(max_length=16)
    value = models.IntegerField(help_text="Its number in Value.")
    runs = models.IntegerField()
    failures = models.IntegerField()
    placeholder_runs = models.IntegerField()
    context_tokens = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    installations_count = models.IntegerField()
    counts = models.BinaryField(help_text="The counts above (breakdowns.py).")
    durations = models.BinaryField(help_text="Histogram of the successful runs.")
    installations = models.BinaryField(help_text="Set of Installation ids.")
    part_counts = models.BinaryField(help_text="The same for each part of each breakdown: by model, say.")
    part_durations = models.BinaryField()
    part_installations = models.BinaryField()
    usage = models.BinaryField(help_text="How often each installation ran each version (usage.py).")

    class Meta:
        constraints = [
            # A dimension's or a value's days in a range; a value's first day and its last.
            models.UniqueConstraint(fields=["dimension", "value", "day"], name="daily_rollup_once"),
        ]
        indexes = [
            # A day's rows, to replace them.
            models.Index(fields=["day"], name="daily_rollup_day"),
        ]
        # What pages of figures ask for (roles.py); figures are read from here.
        permissions = [("view_dashboards", "Can view the dashboards")]

    def __str__(self) -> str:
        return f"{self.day} {self.dimension} {self.value}"


class DailyCombinations(models.Model):
    """One UTC day's runs, those put together that are alike in every value: for several filters at once.

    Recomputed from the day's hours; a day without runs has no row. Written by rollups.py.
    """

    day = models.DateField(primary_key=True)  # days in a range
    counts = models.BinaryField(help_text="Values and counts of each combination (combinations.py).")
    durations = models.BinaryField(help_text="Histograms of the successful runs.")
    installations = models.BinaryField(help_text="Sets of Installation ids.")
    usage = models.BinaryField(help_text="How often each of them ran, and how long it took.")
    options = models.BinaryField(help_text="Which options their runs used.")

    def __str__(self) -> str:
        return f"{self.day}"


class BooksReading(models.Model):
    """One row: the books as last read, and the stages that do not balance. Written by ledger.py."""

    read_at = models.DateTimeField()
    terms = models.JSONField(help_text="As `manage.py ledger --json` prints them.")
    imbalances = models.JSONField(help_text="Stage -> events too many (or, negative, too few), and since when.")

    def __str__(self) -> str:
        return self.read_at.isoformat()


class Verification(models.Model):
    """One row is one run of verify.py. Written by it."""

    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, help_text="None: it was stopped, or is at it.")
    deep = models.BooleanField(help_text="Objects were read, and their lines compared with rows.")
    objects_count = models.IntegerField(default=0)
    events_count = models.BigIntegerField(default=0)
    faults_count = models.IntegerField(default=0)
    faults = models.JSONField(default=list, help_text="The first of them, as the report lists them.")

    class Meta:
        get_latest_by = "started_at"

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC"


class Release(models.Model):
    """One row is one version that is to be seen on charts. Noticed by releases.py, edited by administrators."""

    version = models.CharField(max_length=64, unique=True)  # whether one that was noticed is there
    first_seen_on = models.DateField(
        "first seen", null=True, editable=False, help_text="UTC day of its first run. None: there was none yet."
    )
    released_on = models.DateField(
        "released", null=True, blank=True, help_text="The day it is marked on. Empty: it is not marked."
    )
    notes = models.TextField(blank=True, help_text="For whoever wonders later: what changed, a link.")

    class Meta:
        ordering = ["-released_on", "-first_seen_on", "-version"]

    def __str__(self) -> str:
        return self.version


class Annotation(models.Model):
    """One row is something to remember of a UTC day, drawn on charts. Written by administrators."""

    day = models.DateField()
    text = models.CharField(max_length=120, help_text="A few words, such as: moved to the new model.")

    class Meta:
        ordering = ["-day", "-pk"]

    def __str__(self) -> str:
        return f"{self.day} {self.text}"
