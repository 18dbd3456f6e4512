"""The policy protocol of GR00T: clients, a server for policies that GR00T's own does not serve, and their tests."""
