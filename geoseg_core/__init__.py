"""geoseg: the same object in every view and over time. Importing this package never imports ROS."""
