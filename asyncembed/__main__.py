"""`python -m asyncembed` is the command `asyncembed`."""

from asyncembed.cli import main

if __name__ == "__main__":
    main()
