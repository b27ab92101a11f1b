"""`python -m service.cli`: the console script, for subprocesses that must use the same interpreter."""

from service.cli import main

if __name__ == "__main__":
    main()
