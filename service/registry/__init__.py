"""Models on disk: the champion, decisions about models, training exclusions."""
