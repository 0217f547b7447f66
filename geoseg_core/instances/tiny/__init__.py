"""Instances on the small geometry network: object queries and an instance field on one trunk."""
