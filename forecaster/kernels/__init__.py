"""What every compiled function is made of: vectors, products, activations, buffers; all Numba options are here."""
