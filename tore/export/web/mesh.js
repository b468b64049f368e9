// Draws meshes over the image with three.js, in pixels of the image.

import * as THREE from "./lib/three.module.js";

// As the project's own renderer draws (tore_runtime/renderer.py, outputs.py), whose colors are those of the screen.
const COLORS = [
  [0.65, 0.74, 0.86], [0.9, 0.66, 0.52], [0.62, 0.8, 0.6], [0.82, 0.66, 0.84], [0.9, 0.82, 0.52], [0.56, 0.8, 0.8],
];
const LAMPS = [ // direction to the lamp: x right, y down, z away; strength
  { direction: [-0.5, -0.7, -0.8], color: [0.62, 0.61, 0.58] },
  { direction: [0.9, -0.1, -0.5], color: [0.2, 0.21, 0.24] },
  { direction: [0.2, -0.6, 0.9], color: [0.16, 0.16, 0.17] },
];
const SKY = [0.32, 0.33, 0.36], GROUND = [0.2, 0.19, 0.18];
const GLOSS = 0.08, SHININESS = 24;
const DEPTH = 4; // of a person in sides of the crop, which none of another's reaches into

THREE.ColorManagement.enabled = false;
const colorOf = (numbers) => new THREE.Color(...numbers);
const highlight = GLOSS / (0.25 * (SHININESS / 2 + 1)); // three.js scales it so that its light is kept

export class MeshView {
  /** canvas: drawn upon with transparency. faces: Uint32Array, three vertices each. */
  constructor(canvas, faces) {
    this.faces = new THREE.BufferAttribute(faces, 1);
    this.renderer = new THREE.WebGLRenderer({ canvas, alpha: true, antialias: true, preserveDrawingBuffer: true });
    this.renderer.outputColorSpace = THREE.LinearSRGBColorSpace;
    this.scene = new THREE.Scene();
    this.camera = new THREE.OrthographicCamera();
    this.scene.add(new THREE.HemisphereLight(colorOf(SKY), colorOf(GROUND), Math.PI));
    for (const { direction: [x, y, z], color } of LAMPS) {
      const lamp = new THREE.DirectionalLight(colorOf(color), Math.PI);
      lamp.position.set(x, -y, -z);
      this.scene.add(lamp);
    }
    this.meshes = [];
  }

  /** width, height: of the image. people: what `Recovery.recover` gives. */
  draw(width, height, people) {
    if (this.width !== width || this.height !== height) this.renderer.setSize(width, height, false);
    Object.assign(this, { width, height });
    for (let i = this.meshes.length; i < people.length; i++) this.meshes.push(this.newMesh(COLORS[i % COLORS.length]));
    this.meshes.forEach((mesh, i) => (mesh.visible = i < people.length));
    let behind = 0;
    const nearness = people.map(pixelsPerMeter);
    for (const i of [...people.keys()].sort((one, other) => nearness[other] - nearness[one])) {
      place(this.meshes[i].geometry, people[i], (behind -= DEPTH * people[i].crop.side));
      behind -= DEPTH * people[i].crop.side;
    }
    // three.js looks along -z with y upward: both axes are turned around
    Object.assign(this.camera, { left: 0, right: width, top: 0, bottom: -height, near: -1, far: 1 - behind });
    this.camera.updateProjectionMatrix();
    this.renderer.render(this.scene, this.camera);
  }

  newMesh(color) {
    const geometry = new THREE.BufferGeometry();
    geometry.setIndex(this.faces);
    const look = { color: colorOf(color), specular: colorOf([highlight, highlight, highlight]), shininess: SHININESS };
    // both sides: a hand is open at its wrist, and a left one's faces are those of a right one
    const mesh = new THREE.Mesh(geometry, new THREE.MeshPhongMaterial({ ...look, side: THREE.DoubleSide }));
    mesh.frustumCulled = false;
    this.scene.add(mesh);
    return mesh;
  }
}

const pixelsPerMeter = ({ camera, crop }) => (camera[0] * crop.side) / 2;

/** The vertices of a person in pixels, y upward and z toward the viewer, its own origin at `depth`. */
function place(geometry, { crop, camera: [scale, tx, ty], vertices }, depth) {
  const count = vertices.length / 3, half = crop.side / 2, step = scale * half;
  if (geometry.attributes.position?.count !== count)
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(3 * count), 3));
  const positions = geometry.attributes.position;
  for (let i = 0; i < count; i++) {
    const x = crop.left + half + step * (vertices[3 * i] + tx), y = crop.top + half + step * (vertices[3 * i + 1] + ty);
    positions.setXYZ(i, x, -y, depth - step * vertices[3 * i + 2]);
  }
  positions.needsUpdate = true;
  geometry.computeVertexNormals();
}
