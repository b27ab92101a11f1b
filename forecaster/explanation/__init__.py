"""Why a forecast is what it is, and what it would be with other known future values; nothing here changes a state."""
