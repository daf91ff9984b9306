"""Embedded: a local PostgreSQL, Valkey and SeaweedFS for a machine that has none, each replaced by one variable.

The flow: addresses.py (ports and secrets, read by settings.py), postgres.py, valkey.py and seaweedfs.py (how each is
started), servers.py (which are needed), supervisor.py (starts, keeps and stops them), portal.py (`manage.py up`).
"""

from vibetel.embedded.addresses import environment

__all__ = ["environment"]
