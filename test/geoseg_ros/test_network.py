"""What the node has to do with networks: it needs none, opens nothing but DDS on this computer, and is not reached."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from live import live_node

from geoseg_core.resources import resource
from geoseg_ros import msg

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST_PORT_OF_SENDERS = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
PREDICT = """
import sys
from dataclasses import replace
from pathlib import Path
from live import SMALL, live_node
from scenes import render_set, tabletop
from geoseg_ros import masks_from_msg, msg, srv

assert [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]] == ["lo"]
frames, _ = render_set(tabletop(), size=SMALL, names=("ego", "exo_left"))
views = [replace(view, camera_to_world=None, intrinsics=None, depth_m=None) for view in frames.views]
settings = {"pipeline__tasks": ["cross_view", "prompts"], "pipeline__geometry__encoder": "tiny",
            "pipeline__geometry__device": "cpu"}
with live_node(Path(sys.argv[1]), views=views, **settings) as live:
    masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
    live.spin_until(lambda: masks, 90.0)
    prompt = msg.Prompt(camera="ego", box_px=[10.0, 10.0, 50.0, 40.0])
    tracked = live.call(srv.TrackObject, "track_object", prompt=prompt)
    assert tracked.success, tracked.message
    found = lambda: masks_from_msg(masks[-1]).get("ego", {}).get(tracked.object_id)
    live.spin_until(lambda: found() is not None and found().mask.any())
    print("masks by", masks[-1].method)
"""
# A node here, and a computer that knows its address behind the other end of a cable.
TWO_COMPUTERS = """
set -e
ip link set lo up
unshare -n sleep 120 & other=$!
trap 'kill $other $node' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.1; done
nsenter -t $other -n ip link set lo up
ip link add here type veth peer name there
ip link set there netns $other
ip addr add 10.9.0.1/24 dev here && ip link set here up
nsenter -t $other -n sh -c 'ip addr add 10.9.0.2/24 dev there && ip link set there up'
"$PYTHON" -m geoseg_ros.nodes.perception --ros-args -p 'cameras:=[ego]' > "$LOG" 2>&1 & node=$!
until grep -q ' active: ' "$LOG"; do sleep 0.2; done
unset FASTRTPS_DEFAULT_PROFILES_FILE
export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET ROS_STATIC_PEERS=10.9.0.1
nsenter -t $other -n "$PYTHON" -c "$LOOK"
"""
LOOK = """
import time, rclpy
from diagnostic_msgs.msg import DiagnosticArray
rclpy.init()
node, heard = rclpy.create_node("stranger"), []
node.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
end = time.monotonic() + 8
while time.monotonic() < end and not heard:
    rclpy.spin_once(node, timeout_sec=0.2)
print("reached" if heard or "geoseg" in node.get_node_names() else "nobody there")
"""


def run_in_namespace(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a command in a network namespace of its own, which has nothing but a loopback interface that is down."""
    for namespace in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        try:
            permitted = subprocess.run([*namespace, "ip", "link", "set", "lo", "up"], capture_output=True)
        except FileNotFoundError as error:
            pytest.skip(f"unshare and ip are not here: {error}")
        if permitted.returncode == 0:
            return subprocess.run([*namespace, *command], env=environment, capture_output=True, text=True, timeout=200)
    pytest.skip(f"no network namespace is permitted here: {permitted.stderr.decode().strip()}")


def environment_of_tests(ros_environment: dict[str, str], **others: str) -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "test"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return ros_environment | {"PYTHONPATH": os.pathsep.join(paths), "PYTHON": sys.executable, **others}


def test_masks_from_shipped_weights_need_no_network(tmp_path: Path, ros_environment: dict[str, str]) -> None:
    script = 'ip link set lo up && exec "$PYTHON" -c "$PREDICT" "$FOLDER"'
    environment = environment_of_tests(ros_environment, PREDICT=PREDICT, FOLDER=str(tmp_path))
    done = run_in_namespace(["sh", "-c", script], environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "masks by union_head\n"
    log = (tmp_path / "node.log").read_text()
    assert "encoder tiny, weights tiny (" in log and "Traceback" not in log


@pytest.mark.parametrize(("profile", "answer"), [("fastdds", "nobody there"), ("fastdds_network", "reached")])
def test_another_computer_reaches_the_node_only_where_that_is_asked_for(
    profile: str, answer: str, tmp_path: Path, ros_environment: dict[str, str]
) -> None:
    files = {"LOG": str(tmp_path / "log"), "LOOK": LOOK}
    files["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(resource(f"config/{profile}.xml"))
    done = run_in_namespace(["bash", "-c", TWO_COMPUTERS], environment_of_tests(ros_environment, **files))
    assert done.stdout == f"{answer}\n", done.stderr


def test_a_running_node_has_no_sockets_but_those_of_dds_on_this_computer(tmp_path: Path) -> None:
    with live_node(tmp_path) as live:
        masks = live.bench.listen(msg.CrossViewMasks, "/geoseg/cross_view_masks")
        live.spin_until(lambda: masks)
        sockets = list(sockets_of(live.process.pid))
    assert {kind for kind, *_ in sockets} == {"udp"}
    assert all(peer == "0.0.0.0:0" for *_, peer in sockets)
    receiving = [(address, port) for _, address, port, _ in sockets if port < FIRST_PORT_OF_SENDERS]
    assert receiving and {address for address, _ in receiving} == {"127.0.0.1"}


def sockets_of(process: int):
    """(kind, local address, local port, peer) of each socket that a process has on the internet protocols."""
    links = [os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir()]
    own = {each[len("socket:[") : -1] for each in links if each.startswith("socket:[")}
    for kind in ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "packet"):
        table = Path(f"/proc/{process}/net/{kind}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            words = line.split()
            if (words[8] if kind == "packet" else words[9]) in own:
                address, port = readable(words[1]) if kind.startswith(("tcp", "udp")) else (words[1], 0)
                yield kind, address, port, ":".join(map(str, readable(words[2])))


def readable(words: str) -> tuple[str, int]:
    """Address and port of the kernel's tables, as 0100007F:1F90."""
    address, _, port = words.partition(":")
    return ".".join(str(each) for each in reversed(bytes.fromhex(address))), int(port, 16)
