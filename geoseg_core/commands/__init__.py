"""Subcommands of `geoseg` that need no ROS."""
