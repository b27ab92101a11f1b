"""What every compiled function is made of: vectors, products, activations, buffers; the only Numba options of the project."""
