"""Inputs of the network from a series: steps in time, comparable values, the calendar, known future values."""
