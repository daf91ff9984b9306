from django.db import migrations, models


# Postgres need not try to compress what packing.py and roaring bitmaps have made small.
_COMPRESSED_ALREADY = """
    ALTER TABLE analytics_hourlyrollup ALTER packed SET STORAGE EXTERNAL;
    ALTER TABLE analytics_dailyrollup
        ALTER counts SET STORAGE EXTERNAL,
        ALTER durations SET STORAGE EXTERNAL,
        ALTER installations SET STORAGE EXTERNAL,
        ALTER part_counts SET STORAGE EXTERNAL,
        ALTER part_durations SET STORAGE EXTERNAL,
        ALTER part_installations SET STORAGE EXTERNAL;
"""
# The loader makes the new rollups of all events that are there.
_COMPUTE_ANEW = """
    INSERT INTO analytics_touchedhour
    SELECT DISTINCT date_trunc('hour', occurred_at, 'UTC') FROM analytics_event ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0002_books_and_verifications'),
    ]

    operations = [
        migrations.DeleteModel(
            name='HourlyRollup',
        ),
        migrations.DeleteModel(
            name='DailyRollup',
        ),
        migrations.CreateModel(
            name='DailyRollup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('dimension', models.CharField(max_length=16)),
                ('value', models.IntegerField(help_text='Its number in Value.')),
                ('runs', models.IntegerField()),
                ('failures', models.IntegerField()),
                ('placeholder_runs', models.IntegerField()),
                ('context_tokens', models.BigIntegerField()),
                ('prompt_tokens', models.BigIntegerField()),
                ('completion_tokens', models.BigIntegerField()),
                ('installations_count', models.IntegerField()),
                ('counts', models.BinaryField(help_text='The counts above and further ones (breakdowns.py).')),
                ('durations', models.BinaryField(help_text='Histogram of the successful runs.')),
                ('installations', models.BinaryField(help_text='Set of Installation ids, a roaring bitmap.')),
                ('part_counts', models.BinaryField(help_text='The same for each part of each breakdown: by model, say.')),
                ('part_durations', models.BinaryField()),
                ('part_installations', models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name='HourlyRollup',
            fields=[
                ('hour', models.DateTimeField(primary_key=True, serialize=False)),
                ('runs', models.IntegerField()),
                ('packed', models.BinaryField(help_text='Columns of numbers (runs.py).')),
            ],
        ),
        migrations.CreateModel(
            name='Value',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('dimension', models.CharField(max_length=16)),
                ('number', models.IntegerField()),
                ('value', models.CharField(max_length=255)),
            ],
        ),
        migrations.AddField(
            model_name='installation',
            name='first_seen',
            field=models.DateField(help_text='UTC day of its first run; None before that is in the rollups.', null=True),
        ),
        migrations.AddField(
            model_name='installation',
            name='last_seen',
            field=models.DateField(help_text='UTC day of its last run.', null=True),
        ),
        migrations.AddField(
            model_name='loadedobject',
            name='pruned_rows',
            field=models.IntegerField(default=0, help_text='Of the loaded rows, those that prune.py removed from here.'),
        ),
        migrations.AddField(
            model_name='loadprogress',
            name='pruned_before',
            field=models.DateTimeField(help_text='Events before this UTC midnight were removed from here.', null=True),
        ),
        migrations.AlterField(
            model_name='loadprogress',
            name='relist_from',
            field=models.CharField(blank=True, db_collation='C', help_text='From which name on the loader lists the bucket next.', max_length=1024),
        ),
        migrations.AddIndex(
            model_name='installation',
            index=models.Index(fields=['first_seen'], name='installation_first_seen'),
        ),
        migrations.AddIndex(
            model_name='dailyrollup',
            index=models.Index(fields=['day'], name='daily_rollup_day'),
        ),
        migrations.AddConstraint(
            model_name='dailyrollup',
            constraint=models.UniqueConstraint(fields=('dimension', 'value', 'day'), name='daily_rollup_once'),
        ),
        migrations.AddConstraint(
            model_name='value',
            constraint=models.UniqueConstraint(fields=('dimension', 'value'), name='value_once'),
        ),
        migrations.AddConstraint(
            model_name='value',
            constraint=models.UniqueConstraint(fields=('dimension', 'number'), name='value_number_once'),
        ),
        migrations.RunSQL(_COMPRESSED_ALREADY, migrations.RunSQL.noop),
        migrations.RunSQL(_COMPUTE_ANEW, migrations.RunSQL.noop),
    ]
