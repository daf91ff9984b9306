"""Dashboards: one module a page. Each makes the page's words and pictures from queries.py and charts.py."""
