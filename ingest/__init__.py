"""Receive events, check them, hold them in a stream, and archive them in batches."""
