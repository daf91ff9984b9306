"""The Django project: settings, Celery, URLs, health, and the embedded servers for a machine that has none.

Celery's app is not imported here, as its guide has it: no process but its own puts tasks into a queue, and each of the
others would carry 9 MB of it.
"""
