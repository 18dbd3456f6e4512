"""A policy server looked at from outside: is it up, how fast does it answer, how far is it from what was recorded."""
