"""The network's forecasts beside those of simple experts, weighted and calibrated by their verified errors."""
