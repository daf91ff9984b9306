"""The Django project: settings, Celery, URLs, health, and the embedded servers for a machine that has none.

Celery's guide would have its app imported here. No process but its own puts tasks into a queue, and each of the others
would carry 9 MB of it.
"""
