"""Instances by object queries: each query is one thing in all views."""
