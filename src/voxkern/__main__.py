"""Entry of the command line: ``voxkern`` and ``python -m voxkern``."""

import sys


def main():
    """Run the command line, or say what to install for it."""
    try:
        from voxkern.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f'{error.name} is missing: pip install "voxkern[cli,video]"')
    app(prog_name="voxkern")


if __name__ == "__main__":
    main()
