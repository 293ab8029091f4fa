"""`python -m pcam_kit` is `pcam`."""

from pcam_kit.cli import main

if __name__ == "__main__":
    main()
