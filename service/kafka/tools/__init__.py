"""Kafka functions of the commands: create topics, check a cluster, send a file, display forecasts."""
