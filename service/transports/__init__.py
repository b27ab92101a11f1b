"""Where events come from and where forecasts go: implementations of `service.ports.Transport`."""
