"""What the network sees of a series: its steps in time, its values made comparable, the calendar, known future values."""
