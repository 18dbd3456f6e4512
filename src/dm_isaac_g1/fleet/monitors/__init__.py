"""Monitors: each watches one thing of a host or a run and turns it into events. None of them knows the others."""
