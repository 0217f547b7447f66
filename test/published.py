"""Little datasets in the layouts in which the real ones are published."""

import json

import cv2
import numpy as np
import torch


def coco_text(mask):
    """A mask as COCO's compressed run lengths, by the published rule."""
    flat = np.concatenate(([0], np.asarray(mask, np.uint8).T.reshape(-1), [0]))
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr((group | (32 if more else 0)) + 48)
            if not more:
                break
    return text


def write_image(path, array):
    """RGB or grey of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def matrix_text(matrix):
    return "\n".join(" ".join(str(value) for value in row) for row in matrix)


def camera(focal, u, v):
    return np.array([[focal, 0, u], [0, focal, v], [0, 0, 1.0]])


def at(x):
    """A camera that looks along z from (x, 0, 0)."""
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def write_scannet(root, name="scene0000_00", frames=4, step=0.1):
    """A wall 2 m away, seen by cameras `step` metres apart: colour 40x30 with focal length 40, depth 20x15 with 20; ids
    3 in the left half of the image and 0 in the right."""
    folder = root / name
    colour, depth = np.eye(4), np.eye(4)
    colour[:3, :3], depth[:3, :3] = camera(40, 19.5, 14.5), camera(20, 9.5, 7)
    write_text(folder / "intrinsic" / "intrinsic_color.txt", matrix_text(colour))
    write_text(folder / "intrinsic" / "intrinsic_depth.txt", matrix_text(depth))
    labels = np.zeros((30, 40), np.uint8)
    labels[:, :20] = 3
    for number in range(frames):
        write_image(folder / "color" / f"{number}.jpg", np.full((30, 40, 3), 6 * number, np.uint8))
        write_image(folder / "depth" / f"{number}.png", np.full((15, 20), 2000, np.uint16))
        write_image(folder / "instance-filt" / f"{number}.png", labels)
        write_text(folder / "pose" / f"{number}.txt", matrix_text(at(step * number)))
    groups = [{"id": 0, "objectId": 2, "label": "office chair", "segments": [1, 2]}]
    write_text(folder / f"{name}_vh_clean.aggregation.json", json.dumps({"segGroups": groups}))
    table = "id\traw_category\tcategory\tcount\tnyu40id\n5\toffice chair\tchair\t9\t7\n"
    write_text(root / "scannetv2-labels.combined.tsv", table)
    return folder


def write_scan(folder, points, segments, groups):
    """ScanNet's scan of a scene: vertices (N, 3) in grey, their segments, and the segments of each object id."""
    kind = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue", "alpha")]
    vertices = np.zeros(len(points), kind)
    for axis, name in enumerate("xyz"):
        vertices[name] = np.asarray(points)[:, axis]
    vertices["red"] = vertices["green"] = vertices["blue"] = 51
    header = ["ply", "format binary_little_endian 1.0", "comment VCGLIB generated", f"element vertex {len(points)}"]
    header += [f"property {'uchar' if size == 'u1' else 'float'} {name}" for name, size in kind]
    header += ["element face 1", "property list uchar int vertex_indices", "end_header", ""]
    face = bytes([3]) + np.array([0, 1, 2], "<i4").tobytes()
    (folder / f"{folder.name}_vh_clean_2.ply").write_bytes("\n".join(header).encode() + vertices.tobytes() + face)
    text = json.dumps({"sceneId": folder.name, "segIndices": segments})
    write_text(folder / f"{folder.name}_vh_clean_2.0.010000.segs.json", text)
    listed = [{"id": each, "objectId": each, "label": "chair", "segments": owned} for each, owned in groups.items()]
    write_text(folder / f"{folder.name}.aggregation.json", json.dumps({"segGroups": listed}))


def write_scannetpp(root, name="0a5c013435"):
    """Two iPhone frames and two DSLR frames of a wall 2 m away, 0.1 m apart; id 7 in the left half."""
    folder = root / "data" / name
    groups = {"segGroups": [{"id": 1, "objectId": 7, "index": 0, "label": "door", "segments": []}]}
    write_text(folder / "scans" / "segments_anno.json", json.dumps(groups))
    phone, frames = {}, []
    for number in range(2):
        frame, picture = f"frame_{number:06}", f"DSC{number:05}"
        intrinsic = camera(1440, 960, 720).tolist()
        phone[frame] = {"pose": at(9).tolist(), "aligned_pose": at(0.1 * number).tolist(), "intrinsic": intrinsic}
        write_image(folder / "iphone" / "rgb" / f"{frame}.jpg", np.full((1440, 1920, 3), 90, np.uint8))
        write_image(folder / "iphone" / "depth" / f"{frame}.png", np.full((192, 256), 2000, np.uint16))
        frames.append({"file_path": f"{picture}.JPG", "transform_matrix": to_nerfstudio(at(0.1 * number)).tolist()})
        write_image(folder / "dslr" / "undistorted_images" / f"{picture}.JPG", np.full((30, 40, 3), 60, np.uint8))
        write_image(folder / "dslr" / "undistorted_depths" / f"{picture}.png", np.full((30, 40), 2000, np.uint16))
        for image, size in ((f"{frame}.jpg", (1440, 1920)), (f"{picture}.JPG", (30, 40))):
            ids = np.full(size, -1, np.int32)
            ids[:, : size[1] // 2] = 7
            (root / "obj_ids" / name).mkdir(parents=True, exist_ok=True)
            torch.save(ids, root / "obj_ids" / name / f"{image}.pth")
    frames[0]["is_bad"] = False
    write_text(folder / "iphone" / "pose_intrinsic_imu.json", json.dumps(phone))
    facts = {"camera_model": "PINHOLE", "fl_x": 40, "fl_y": 40, "cx": 19.5, "cy": 14.5, "w": 40, "h": 30}
    facts |= {"frames": frames[:1], "test_frames": frames[1:]}
    write_text(folder / "dslr" / "nerfstudio" / "transforms_undistorted.json", json.dumps(facts))
    write_text(root / "classes.txt", "wall\ndoor\n")
    return folder


def to_nerfstudio(pose):
    """As COLMAP's poses are written into transforms.json: camera axes first, then the world's."""
    turned = pose @ np.diag([1.0, -1, -1, 1])
    turned = turned[[1, 0, 2, 3]]
    turned[2] *= -1
    return turned


def write_take(root, name="cmu_bike01_2", frames=(30, 60), exo=("cam01", "cam02")):
    """A square object on the ego image (704x704, masks 1408x1408) and on exo images (960x540, masks 3840x2160), and one
    that only the ego camera sees; frame 90 has masks in the ego view alone."""
    folder = root / name
    small, large = np.zeros((1408, 1408), bool), np.zeros((2160, 3840), bool)
    small[:704, :704] = True
    large[:, 1920:] = True
    bike, pump = {"aria01_214-1": {}}, {"aria01_214-1": {}}
    for frame in (*frames, 90):
        bike["aria01_214-1"][str(frame)] = {"size": [1408, 1408], "counts": coco_text(small)}
        write_image(folder / "aria01_214-1" / f"{frame}.jpg", np.full((704, 704, 3), frame, np.uint8))
    pump["aria01_214-1"][str(frames[0])] = {"size": [1408, 1408], "counts": coco_text(~small)}
    for each in exo:
        bike[each] = {}
        for frame in frames:
            bike[each][str(frame)] = {"size": [2160, 3840], "counts": coco_text(large)}
            write_image(folder / each / f"{frame}.jpg", np.full((540, 960, 3), frame, np.uint8))
    annotation = {"masks": {"bike_0": bike, "pump_0": pump}, "subsample_idx": [*frames, 90]}
    write_text(folder / "annotation.json", json.dumps(annotation))
    return folder


def write_sa1b(root, number=1):
    """A photograph of 20x10 with a large mask, a small one on top of it, and one of poor quality."""
    large, small, poor = (np.zeros((10, 20), bool) for _ in range(3))
    large[:, 4:16], small[2:6, 6:10], poor[:, :2] = True, True, True
    annotations = [
        {"id": each, "segmentation": {"size": [10, 20], "counts": coco_text(mask)}, "predicted_iou": quality,
         "stability_score": 0.97, "area": int(mask.sum()), "bbox": [0, 0, 1, 1], "point_coords": [[0.0, 0.0]]}
        for each, (mask, quality) in enumerate(((small, 0.95), (large, 0.9), (poor, 0.3)))
    ]  # fmt: skip
    facts = {"image_id": number, "width": 20, "height": 10, "file_name": f"sa_{number}.jpg"}
    write_image(root / f"sa_{number}.jpg", np.full((10, 20, 3), 128, np.uint8))
    write_text(root / f"sa_{number}.json", json.dumps({"image": facts, "annotations": annotations}))


def picture(number):
    return np.full((30, 40, 3), 10 * number, np.uint8)


def patch(rows, columns, size=(30, 40)):
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = 255
    return mask


def write_nvos(root, name="fern"):
    """Five views; the fourth has scribbles, the second is the truth, of half the size."""
    for number in range(5):
        write_image(root / name.partition("_")[0] / "images" / f"IMG_{number}.png", picture(number))
        # Those of another size have other names.
        write_image(root / name.partition("_")[0] / "images_4" / f"image00{number}.png", picture(number)[::4, ::4])
    write_image(root / "reference_image" / name / "IMG_3.png", picture(3))
    write_image(root / "scribbles" / name / f"pos_0_{name}.png", patch(slice(4, 6), slice(10, 20)))
    write_image(root / "scribbles" / name / f"neg_0_{name}.png", patch(slice(28, 30), slice(0, 40)))
    write_image(root / "scribbles" / name / f"vis_{name}.png", picture(3))
    write_image(root / "masks" / name / "IMG_1.png", picture(1))
    write_image(root / "masks" / name / "IMG_1_mask.png", patch(slice(0, 5), slice(0, 20), (15, 20)))


def write_spin_nerf(root):
    """Six views; the first four have masks, named by their number, of half the size."""
    for number in range(6):
        write_image(root / "fern" / "images_4" / f"IMG_{number}.png", picture(number))
    for number in range(4):
        mask = patch(slice(0, 3 + number), slice(0, 20), (15, 20)) // 255
        write_image(root / "MVSeg_data" / "fern (llff)" / f"image00{number}.png", mask)
    write_image(root / "MVSeg_data" / "fern (llff)" / "image000_cutout.png", picture(1))
    write_image(root / "MVSeg_data" / "fern (llff)" / "image000_pseudo.png", picture(1))
