from django.db import migrations, models

# Postgres need not try to compress what packing.py has made small.
_COMPRESSED_ALREADY = "ALTER TABLE analytics_dailycombinations ALTER options SET STORAGE EXTERNAL"
# Days are stored otherwise now: the loader makes them anew, of the hours that are there.
_COMPUTE_ANEW = """
    DELETE FROM analytics_dailyrollup;
    DELETE FROM analytics_dailycombinations;
    INSERT INTO analytics_touchedhour SELECT hour FROM analytics_hourlyrollup ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0007_forget_token_keys'),
    ]

    operations = [
        migrations.RunSQL(_COMPUTE_ANEW, _COMPUTE_ANEW),
        migrations.AddField(
            model_name='dailycombinations',
            name='options',
            field=models.BinaryField(default=b'', help_text='Which options their runs used.'),
            preserve_default=False,
        ),
        migrations.RunSQL(_COMPRESSED_ALREADY, migrations.RunSQL.noop),
    ]
