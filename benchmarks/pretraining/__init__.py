"""Generated series, and the training of the weights that come with the program on them."""
