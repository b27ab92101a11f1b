"""The recurrent network: cells, the layer around them, and the heads from hidden state to quantiles."""
