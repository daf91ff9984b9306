import django.db.models.deletion
from django.db import migrations, models

# Django's, for LIKE: of names, whose collation is C, the unique index serves that as well; of releases nobody asks it.
_DROP = """
    DROP INDEX analytics_loadedobject_name_989b517f_like;
    DROP INDEX analytics_release_version_4ab2a3a5_like
"""
_MAKE = """
    CREATE INDEX analytics_loadedobject_name_989b517f_like ON analytics_loadedobject (name varchar_pattern_ops);
    CREATE INDEX analytics_release_version_4ab2a3a5_like ON analytics_release (version varchar_pattern_ops)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0008_options_apart'),
    ]

    operations = [
        migrations.RunSQL(_DROP, _MAKE),
        # The beginning of quarantined_once.
        migrations.AlterField(
            model_name='quarantined',
            name='source_object',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to='analytics.loadedobject'),
        ),
    ]
