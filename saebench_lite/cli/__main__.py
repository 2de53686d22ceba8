"""`python -m saebench_lite.cli` is the command `saebench-lite`."""

from saebench_lite.cli.main import main

main()
