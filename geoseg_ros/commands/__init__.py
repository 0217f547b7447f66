"""The `geoseg` subcommands that need ROS."""
