from django.db import migrations, models

# Postgres need not try to compress what packing.py has made small.
_COMPRESSED_ALREADY = """
    ALTER TABLE analytics_dailyrollup ALTER usage SET STORAGE EXTERNAL;
    ALTER TABLE analytics_dailycombinations
        ALTER counts SET STORAGE EXTERNAL,
        ALTER durations SET STORAGE EXTERNAL,
        ALTER installations SET STORAGE EXTERNAL,
        ALTER usage SET STORAGE EXTERNAL;
"""
# Days are stored otherwise now: the loader makes them anew, of the hours that are there.
_COMPUTE_ANEW = """
    DELETE FROM analytics_dailyrollup;
    INSERT INTO analytics_touchedhour SELECT hour FROM analytics_hourlyrollup ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0004_bi'),
    ]

    operations = [
        migrations.RunSQL(_COMPUTE_ANEW, migrations.RunSQL.noop),
        migrations.CreateModel(
            name='DailyCombinations',
            fields=[
                ('day', models.DateField(primary_key=True, serialize=False)),
                ('counts', models.BinaryField(help_text='Values and counts of each combination (combinations.py).')),
                ('durations', models.BinaryField(help_text='Histograms of the successful runs.')),
                ('installations', models.BinaryField(help_text='Sets of Installation ids.')),
                ('usage', models.BinaryField(help_text='How often each of them ran, and how long it took.')),
            ],
        ),
        migrations.AddField(
            model_name='dailyrollup',
            name='usage',
            field=models.BinaryField(default=b'', help_text='How often each installation ran each version (usage.py).'),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name='dailyrollup',
            name='counts',
            field=models.BinaryField(help_text='The counts above (breakdowns.py).'),
        ),
        migrations.AlterField(
            model_name='dailyrollup',
            name='installations',
            field=models.BinaryField(help_text='Set of Installation ids.'),
        ),
        migrations.RunSQL(_COMPRESSED_ALREADY, migrations.RunSQL.noop),
    ]
