"""Building blocks of all compiled functions: vectors, products, activations, buffers, and all Numba options."""
