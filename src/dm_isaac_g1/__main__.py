"""`python -m dm_isaac_g1` is `dm-g1`."""

from dm_isaac_g1.cli.main import main

main()
