"""Measures the speed of this machine, and estimates the resources of a deployment."""
