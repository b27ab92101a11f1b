"""How fast this machine is, and how large a deployment has to be."""
