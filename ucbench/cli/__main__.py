"""`python -m ucbench.cli`."""

from ucbench.cli import main

main()
