"""One partition in memory: the end of its history, groups of series, training schedule, and where a batch is cut."""
