"""The ensemble of the network and simple experts, weighted and calibrated by verified errors."""
