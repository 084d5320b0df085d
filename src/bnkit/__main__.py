"""`python -m bnkit`: the command line."""

from bnkit.cli.main import main

main()
