"""Where forecasts, rejects, adoptions and positions go, as one atomic unit."""
