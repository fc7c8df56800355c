"""`python -m stratnb COMMAND`: the command line without its script."""

from stratnb.cli import app

if __name__ == "__main__":
    app()
