"""The model registry on disk: models, the champion, decisions, training exclusions."""
