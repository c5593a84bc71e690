"""`python -m restore_hub` is `restore-hub`."""

from restore_hub.cli import main

if __name__ == "__main__":
    main()
