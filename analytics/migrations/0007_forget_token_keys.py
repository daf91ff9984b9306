from django.db import migrations

# Until now the audit log held the key of each token that was made or removed in the admin. Not for tables that are made
# beside the live ones, which have no such log; nor where it is not made yet.
_FORGET = """
    DO $$ BEGIN
        IF to_regclass('django_admin_log') IS NOT NULL THEN
            UPDATE django_admin_log SET
                object_repr = 'token',
                object_id = CASE WHEN object_id ~ '^[0-9a-f]{40}$' THEN NULL ELSE object_id END
            WHERE content_type_id IN (SELECT id FROM django_content_type WHERE app_label = 'authtoken');
        END IF;
    END $$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0006_releases'),
    ]

    operations = [
        migrations.RunSQL(_FORGET, migrations.RunSQL.noop),
    ]
