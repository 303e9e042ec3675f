"""`python -m fuselight`."""

from fuselight.cli import program

if __name__ == "__main__":
    program()
