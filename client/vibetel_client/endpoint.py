"""The endpoint of last resort. `manage.py endpoint` writes the portal's live URL here; empty, nothing is sent."""

DEFAULT_ENDPOINT: str = ""
