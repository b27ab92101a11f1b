"""Where records come from, by position, so that they can be read again: files, pipes, pushed events."""
