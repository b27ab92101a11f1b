"""What the network sees of a series: steps in time, comparable values, the calendar, known future values."""
