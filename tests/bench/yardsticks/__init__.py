"""Yardsticks: the ingest endpoint as others would write it, for measuring ours against. No part of the portal.

`plain` is the least that Django needs to receive an event and keep it; `typical` is what a tutorial leads to; `trivial`
is no Django at all, and shows what the load itself can reach. DJANGO_SETTINGS_MODULE says which; the Redis is that of
REDIS_URL, and every good event gets a 202.
"""
