"""What the node knows of itself: counters and times, and the DiagnosticArray made of them."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from geoseg_core.process_memory import MIB, gpu_mib, resident_mib
from geoseg_core.results import SceneResult
from geoseg_core.synchronizer import IMAGE, SyncCounts, Synchronizer
from geoseg_ros.parameters import NodeConfig
from geoseg_ros.stock_synchronizer import StockSynchronizer

WINDOW = 200  # newest values that percentiles are taken of
RECENT_S = 10.0
REQUEST = "request"  # what was refused, where it was asked for by a service, the action or a topic of prompts
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Statistics:
    """Counters of one node, fed by the executor's thread and the worker's.

    Args:
        warn: says a line; called for the first refusal of a kind, and every RECENT_S while they go on.
        model: the encoder's name; name and licence of its weights and of the other networks', where there are any.
    """

    def __init__(self, warn: Callable[[str], object], model: Mapping[str, str] | None = None) -> None:
        self.model = dict(model or {})
        self._lock = Lock()
        self._warn = warn
        self._said_s: dict[tuple[str, str, str], float] = {}
        self._times_ms: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._done_s: deque[float] = deque(maxlen=WINDOW)
        self.restart()
        self.refused: Counter[tuple[str, str, str]] = Counter()
        self.refused_s: dict[str, float] = {}
        self.sets: Counter[str] = Counter()
        self.synchronised = SyncCounts()
        self.heard_s: dict[str, float] = {}
        self.newest: SceneResult | None = None
        self.memory_resets = 0
        self.incompatible: set[str] = set()

    def restart(self) -> None:
        """Silence counts from now on."""
        self.started_s = time.monotonic()

    def refuse(self, source: str, kind: str, error: Exception) -> None:
        """Count a message that was refused, and say so; the words before the first colon are its reason."""
        key = (source, kind, str(error).split(":", maxsplit=1)[0])
        now_s = time.monotonic()
        with self._lock:
            self.refused[key] += 1
            self.refused_s[source] = now_s
            is_news = now_s - self._said_s.get(key, -RECENT_S) >= RECENT_S
            if is_news:
                self._said_s[key] = now_s
        if is_news:
            self._warn(f"refused {kind} of {source!r} ({self.refused[key]} so far): {error}")

    def count_set(self, outcome: str) -> None:
        """processed, superseded, stale, failed, undecodable, unusable, inconsistent, out_of_memory or time_jump."""
        with self._lock:
            self.sets[outcome] += 1
            if outcome == "processed":
                self._done_s.append(time.monotonic())

    def arrived(self, camera: str, kind: str, age_ms: float) -> None:
        """A message came, `age_ms` after its stamp by the node's clock."""
        with self._lock:
            self._times_ms[f"{camera} {kind} arrival"].append(age_ms)
            if kind == IMAGE:
                self.heard_s[camera] = time.monotonic()

    def timed(self, times_ms: dict[str, float]) -> None:
        """Times of one set by stage."""
        with self._lock:
            for stage, value in times_ms.items():
                self._times_ms[stage].append(value)

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Median and 95th percentile of each stage, ms."""
        with self._lock:
            recent = {stage: sorted(values) for stage, values in self._times_ms.items()}
        return {stage: (nearest_rank(each, 0.5), nearest_rank(each, 0.95)) for stage, each in recent.items()}

    def rate_hz(self) -> float:
        """Sets processed per second over the last five."""
        since_s = time.monotonic() - 5.0
        with self._lock:
            recent = [each for each in self._done_s if each > since_s]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0

    def since_last_s(self) -> float:
        """Seconds since the newest processed set, or since the start."""
        with self._lock:
            return time.monotonic() - (self._done_s[-1] if self._done_s else self.started_s)


def nearest_rank(ascending: Sequence[float], share: float) -> float:
    """A percentile as one of the values, at least one: numpy's would cost the node milliseconds each time."""
    return ascending[round(share * (len(ascending) - 1))]


def diagnostics_to_msg(
    header: Header, config: NodeConfig, statistics: Statistics, synchronizer: Synchronizer | StockSynchronizer
) -> DiagnosticArray:
    """One status for the pipeline, one for the connections, one for what is asked, one for each camera."""
    percentiles, counts, missing = statistics.percentiles(), synchronizer.counts, synchronizer.missing()
    cameras = [
        camera_status(camera, config, statistics, counts, percentiles, camera in missing) for camera in config.cameras
    ]
    pipeline = _pipeline_status(config, statistics, counts, percentiles)
    return DiagnosticArray(
        header=header, status=[pipeline, connection_status(statistics), request_status(statistics), *cameras]
    )


def not_ready_to_msg(header: Header) -> DiagnosticArray:
    """What a node says that is not active: a planner must not wait for it."""
    words = "not ready: configure and activate the node, its log says why where that failed"
    return DiagnosticArray(header=header, status=[_status("pipeline", WARN, words, {})])


def _pipeline_status(
    config: NodeConfig, statistics: Statistics, counts: SyncCounts, percentiles: dict[str, tuple[float, float]]
) -> DiagnosticStatus:
    latency_s = percentiles.get("latency", (0.0, 0.0))[1] / 1000
    idle_s = statistics.since_last_s()
    limits = config.diagnostics
    drift = statistics.newest.scale.drift if statistics.newest is not None else ""
    level, words = (WARN, drift) if drift else (OK, "running")
    if idle_s > limits.stale_s:
        level, words = WARN, f"no set for {idle_s:.1f} s"
    if latency_s > limits.warn_latency_s:
        level, words = WARN, f"slow: 95 % of the sets are done within {latency_s * 1000:.0f} ms"
    if latency_s > limits.error_latency_s:
        level = ERROR
    resident, most = resident_mib(), config.memory.cpu_mib
    if most and resident > most:
        level, words = max(level, WARN), f"takes {resident:.0f} MiB, memory.cpu_mib is {most}"
    values = {
        "rate_hz": f"{statistics.rate_hz():.2f}",
        "sets_synchronised": counts.sets,
        "sets_partial": counts.partial_sets,
        "memory_resets": statistics.memory_resets,
        **{f"sets_{outcome}": number for outcome, number in sorted(statistics.sets.items())},
        "idle_s": f"{idle_s:.2f}",
        **_stage_values(percentiles, lambda stage: "arrival" not in stage),
        **statistics.model,
        **_memory_values(statistics.newest),
        "resident_mib": f"{resident:.0f}",
        "gpu_mib": f"{gpu_mib():.0f}",
    }
    return _status("pipeline", level, words, values)


def _memory_values(newest: SceneResult | None) -> dict[str, object]:
    if newest is None:
        return {"scale": "UNKNOWN", "objects": 0, "instances": 0, "remembered_mib": "0.0"}
    tracked = {mask.object_id for view in newest.masks for mask in view.masks}
    instances = () if newest.instances is None else newest.instances.instances
    return {
        "cameras": " ".join(newest.frames.cameras),
        "missing": " ".join(newest.frames.missing),
        "scale": newest.scale.status.name,
        "scale_source": newest.scale.source,
        "scale_deviation": f"{newest.scale.standard_deviation:.4f}",
        "drift": newest.scale.drift,
        "objects": len(tracked),
        "instances": len(instances),
        "remembered_mib": f"{newest.memory_bytes / MIB:.1f}",
        "points": 0 if newest.instances is None else len(newest.instances.cloud.xyz),
    }


def connection_status(statistics: Statistics) -> DiagnosticStatus:
    """Which peers nothing comes from or goes to, since their quality of service does not fit."""
    peers = sorted(statistics.incompatible)
    words = f"incompatible QoS: {'; '.join(peers)}" if peers else "all peers have compatible QoS"
    return _status("connections", WARN if peers else OK, words, {"incompatible": len(peers)})


def request_status(statistics: Statistics) -> DiagnosticStatus:
    """Where more was asked than the node takes, and how often."""
    refused = {(name, why): n for (name, kind, why), n in statistics.refused.copy().items() if kind == REQUEST}
    now_s = time.monotonic()
    recent = sorted({name for name, _ in refused if now_s - statistics.refused_s[name] < RECENT_S})
    words = f"refused, too many on {', '.join(recent)}" if recent else "all requests are taken"
    values = {f"{name} refused: {why}": number for (name, why), number in refused.items()}
    return _status("requests", WARN if recent else OK, words, values)


def camera_status(
    camera: str,
    config: NodeConfig,
    statistics: Statistics,
    counts: SyncCounts,
    percentiles: dict[str, tuple[float, float]],
    is_left_out: bool,
) -> DiagnosticStatus:
    """What came of a camera, and what became of it."""
    heard_s = statistics.heard_s.get(camera)
    silent_s = time.monotonic() - (statistics.started_s if heard_s is None else heard_s)
    level, words = OK, "receiving"
    if is_left_out:
        level, words = WARN, "left out: its images come too late or with stamps that fit no other camera's"
    if silent_s > config.sync.missing_timeout_s:
        level, words = WARN, "no image yet" if heard_s is None else f"missing: no image for {silent_s:.1f} s"
    refused = {f"{kind} refused: {why}": n for (each, kind, why), n in statistics.refused.items() if each == camera}
    dropped = {f"{kind} dropped: {why}": n for ((each, kind), why), n in counts.dropped.items() if each == camera}
    values = {
        **{f"{kind} received": number for (each, kind), number in counts.received.items() if each == camera},
        **{f"{kind} matched": number for (each, kind), number in counts.matched.items() if each == camera},
        **dropped,
        **refused,
        **_stage_values(percentiles, lambda stage: stage.startswith(f"{camera} ")),
    }
    is_recent = time.monotonic() - statistics.refused_s.get(camera, -RECENT_S) < RECENT_S
    if level == OK and is_recent:
        level, words = WARN, f"refused: {', '.join(f'{why} ({number})' for why, number in refused.items())}"
    return _status(f"camera {camera}", level, words, values)


def _stage_values(percentiles: dict[str, tuple[float, float]], wanted: Callable[[str], bool]) -> dict[str, str]:
    chosen = {stage: both for stage, both in percentiles.items() if wanted(stage)}
    medians = {f"{stage}_ms_p50": f"{both[0]:.2f}" for stage, both in chosen.items()}
    return medians | {f"{stage}_ms_p95": f"{both[1]:.2f}" for stage, both in chosen.items()}


def _status(name: str, level: bytes, words: str, values: dict[str, object]) -> DiagnosticStatus:
    pairs: Iterable[KeyValue] = (KeyValue(key=key, value=str(value)) for key, value in values.items())
    return DiagnosticStatus(name=f"geoseg: {name}", level=level, message=words, values=list(pairs))
