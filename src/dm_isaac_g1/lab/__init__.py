"""The embedded lab: two SSH hosts on loopback, for trying dm-g1 and for testing it. See README.md beside this file."""
