"""The WSGI entry point of the process that receives events, with patience for Redis (patience.py)."""

from tests.ingest import patience
from vibetel.ingest_wsgi import application

__all__ = ["application"]

patience.be_patient()
