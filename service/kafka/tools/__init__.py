"""What commands do with Kafka: make topics, check a cluster, produce a file, show forecasts."""
