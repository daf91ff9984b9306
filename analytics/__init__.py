"""Load the archive into Postgres, roll it up, and show it."""
