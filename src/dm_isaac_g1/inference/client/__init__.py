"""Clients of policy servers: blocking, awaitable; four dialects."""
