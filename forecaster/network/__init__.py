"""The recurrent network: cells, the layer around them, and the heads that turn hidden state into quantiles."""
