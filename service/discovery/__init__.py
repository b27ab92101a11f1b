"""Finds out what a source of unknown records holds: its format, its fields, and which of them make the events."""
