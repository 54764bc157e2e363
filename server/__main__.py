"""`python -m server` is `privet`."""

from server.cli import main

main()
