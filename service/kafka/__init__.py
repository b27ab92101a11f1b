"""Kafka clients, and the parts shared by its source, its sink and the commands."""
