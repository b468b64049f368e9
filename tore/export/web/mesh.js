// Draws meshes over the image with three.js, in pixels of the image.

import * as THREE from "./lib/three.module.js";

const COLORS = [0xd9a98c, 0x8cb4d9, 0xa3d98c, 0xd98cc2, 0xd9d28c, 0x8cd9cf]; // of people, the nearest first
const DEPTH = 4; // of a person in sides of the crop, which none of another's reaches into

export class MeshView {
  /** canvas: drawn upon with transparency. faces: Uint32Array, three vertices each. */
  constructor(canvas, faces) {
    this.faces = new THREE.BufferAttribute(faces, 1);
    this.renderer = new THREE.WebGLRenderer({ canvas, alpha: true, antialias: true, preserveDrawingBuffer: true });
    this.scene = new THREE.Scene();
    this.camera = new THREE.OrthographicCamera();
    this.people = new THREE.Group();
    const light = new THREE.DirectionalLight(0xffffff, 2.4);
    light.position.set(-0.5, 0.7, 0.8);
    this.scene.add(this.people, light, new THREE.AmbientLight(0xffffff, 1.1));
    this.meshes = [];
  }

  /** width, height: of the image. people: what `Recovery.recover` gives. */
  draw(width, height, people) {
    if (this.width !== width || this.height !== height) this.renderer.setSize(width, height, false);
    Object.assign(this, { width, height });
    const sorted = [...people].sort((one, other) => pixelsPerMeter(other) - pixelsPerMeter(one));
    while (this.meshes.length < sorted.length) this.meshes.push(this.newMesh(COLORS[this.meshes.length % COLORS.length]));
    let behind = 0;
    this.meshes.forEach((mesh, i) => {
      mesh.visible = i < sorted.length;
      if (!mesh.visible) return;
      place(mesh.geometry, sorted[i], (behind -= DEPTH * sorted[i].crop.side));
      behind -= DEPTH * sorted[i].crop.side;
    });
    // three.js looks along -z with y upward: both axes are turned around
    Object.assign(this.camera, { left: 0, right: width, top: 0, bottom: -height, near: -1, far: 1 - behind });
    this.camera.updateProjectionMatrix();
    this.renderer.render(this.scene, this.camera);
  }

  newMesh(color) {
    const geometry = new THREE.BufferGeometry();
    geometry.setIndex(this.faces);
    const mesh = new THREE.Mesh(geometry, new THREE.MeshStandardMaterial({ color, roughness: 0.75 }));
    mesh.frustumCulled = false;
    this.people.add(mesh);
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
