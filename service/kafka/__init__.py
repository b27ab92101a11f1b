"""Kafka: the clients, and what its source, its sink and the commands share."""
