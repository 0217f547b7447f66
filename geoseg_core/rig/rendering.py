"""Headless rendering of colour, depth and labels with MuJoCo's OpenGL renderer; one GL context a renderer."""

import ctypes.util
import importlib
import os
import weakref
from types import ModuleType

import mujoco
import numpy as np

from geoseg_core.errors import MissingExtra

LIBRARIES = {"osmesa": "OSMesa", "egl": "EGL"}


def gl_backend() -> str:
    """The GL back end to use: MUJOCO_GL where it names one, else osmesa, else egl.

    Raises:
        MissingExtra: neither library is installed.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    names = [wanted] if wanted in LIBRARIES else list(LIBRARIES)
    for name in names:
        if ctypes.util.find_library(LIBRARIES[name]):
            return name
    raise MissingExtra(f"headless rendering (lib{LIBRARIES[names[0]]}, Debian's libosmesa6 or libegl1)", "sim")


class Renderer:
    """Draws one model. Must be made, used and closed in one and the same thread."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        backend: ModuleType = importlib.import_module(f"mujoco.{gl_backend()}")
        self._gl = backend.GLContext(width, height)
        self._gl.make_current()
        self._model = model
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._scene = mujoco.MjvScene(model, 1000)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        # also runs before the interpreter ends, when the GL modules are still whole
        self._finalizer = weakref.finalize(self, _free, self._context, self._gl)

    def render(self, data: mujoco.MjData, camera: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colour (H, W, 3) uint8, depth along z (H, W) float32 metres, body id (H, W) int32, 0 = world."""
        self._camera.fixedcamid = self._model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, everything, self._scene)
        shape = (self._rectangle.height, self._rectangle.width)
        image = np.empty((*shape, 3), np.uint8)
        codes = np.empty((*shape, 3), np.uint8)
        buffer = np.empty(shape, np.float32)
        flags = self._scene.flags
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, self._rectangle, self._context)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            flags[flag] = True
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(codes, buffer, self._rectangle, self._context)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            flags[flag] = False
        # OpenGL's rows run from bottom to top
        return np.ascontiguousarray(image[::-1]), self._depth(buffer[::-1]), self._bodies(codes[::-1])

    def close(self) -> None:
        """Free the GL context."""
        self._finalizer()

    def _depth(self, buffer: np.ndarray) -> np.ndarray:
        """Metres from the reversed depth buffer (1 at the near plane, 0 at the far plane)."""
        extent = self._model.stat.extent
        near, far = self._model.vis.map.znear * extent, self._model.vis.map.zfar * extent
        return np.float32(near * far) / (near + buffer * np.float32(far - near))

    def _bodies(self, codes: np.ndarray) -> np.ndarray:
        """Body of each pixel from the colour code of its geom (0 = nothing drawn)."""
        geoms = self._scene.geoms[: self._scene.ngeom]
        table = np.zeros(self._scene.ngeom + 1, np.int32)
        for geom in geoms:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.segid >= 0:
                table[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        index = codes[..., 0].astype(np.int32) | codes[..., 1].astype(np.int32) << 8
        return table[index]


def _free(context: mujoco.MjrContext, gl_context: object) -> None:
    context.free()
    gl_context.free()  # type: ignore[attr-defined]
