"""What people of a set look like: skins and clothes, poses, panoramas; from assets, or plain without them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator, RandomState
from tore.synthetic.assets import *
from tore.synthetic.dressing import *
from tore.synthetic.skin_tones import skin_texture
from tore.synthetic.poses import draw_poses
from tore.synthetic.hand_poses import draw_hand_poses
from tore.synthetic.lighting import light_of_panorama
from tore.synthetic.scene import draw_background
class DP(NamedTuple):
    pose: np.ndarray
    kind: str
    grounded: bool
@lru_cache(32)
def _pan(p):
    return light_of_panorama(read_panorama(p))
LOOK_VERSION=1
def asset_names(a): return a
def open_look(assets, split): return Look(find_assets(Path(assets)).part('train' if split=='train' else 'heldout'))
class Look:
    def __init__(self, assets):
        self.assets=assets; self.figure=None
    def pose(self, rng):
        p=draw_poses([RandomState(int(rng.integers(2**32)))],self.figure.joints,self.figure.parents)[0]
        return DP(p,'standing',True)
    def hand_pose(self, rng, figure):
        return draw_hand_poses([RandomState(int(rng.integers(2**32)))],figure.joints,figure.mean_pose)[0][3:]
    def hand_skin(self, rng):
        return skin_texture(self.assets.skins,rng,.6,'male')[0]
    def light(self,rng):
        P=self.assets.panoramas
        L=_pan(P[int(rng.integers(len(P)))].path).turned(float(rng.uniform(-np.pi,np.pi)))
        return L.dimmed(float(np.exp(.25*rng.standard_normal())))
    def photograph(self,rng,size): return None
    def dress(self,rng,mesh,betas,age):
        o=choose_outfit(self.assets,rng,age,gender_of(betas,age))
        return tuple(dress(o,mesh.shaped,betas).posed(mesh.transforms,mesh.offsets,mesh.vertices))
