"""The ROS 2 side of geoseg: nodes, conversions, commands, and (generated) msg, srv and action."""

from pkgutil import extend_path

# The generated interfaces lie in the install space, the sources perhaps in a checkout: one package made of both.
__path__ = extend_path(__path__, __name__)
