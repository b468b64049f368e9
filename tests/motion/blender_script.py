"""Runs inside Blender: imports a.glb and a.bvh of a folder, makes an FBX file of the first, and tells the joints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy

folder, rate, count = Path(sys.argv[-3]), int(sys.argv[-2]), int(sys.argv[-1])
found = {}


def told(first_frame: int) -> list[dict[str, list[float]]]:
    """Name -> place of the joints, frame by frame; Blender's z is up."""
    (armature,) = (thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    frames = []
    for frame in range(count):
        bpy.context.scene.frame_set(first_frame + frame)
        posed = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        frames.append({bone.name: list(posed.matrix_world @ bone.head) for bone in posed.pose.bones})
    return frames


def empty() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = rate


empty()
bpy.ops.import_anim.bvh(filepath=str(folder / "a.bvh"), global_scale=0.01, update_scene_fps=True)
found["bvh"] = told(1)
empty()
bpy.ops.import_scene.gltf(filepath=str(folder / "a.glb"))
found["glb"] = told(0)
scene = bpy.context.scene
scene.frame_start, scene.frame_end = 0, count - 1
bpy.ops.export_scene.fbx(filepath=str(folder / "a.fbx"), add_leaf_bones=False, bake_anim_simplify_factor=0.0)
empty()
bpy.ops.import_scene.fbx(filepath=str(folder / "a.fbx"))
found["fbx"] = told(1)
(folder / "found.json").write_text(json.dumps(found))
