// The two networks in onnxruntime-web: from an image to people, and from boxes to meshes.

import { cropOfBox, writeCrop } from "./images.js";
import { findPeople } from "./people.js";

const LIBRARIES = { wasm: "./lib/ort.wasm.bundle.min.mjs", webgpu: "./lib/ort.webgpu.bundle.min.mjs" };
const ALLOWED = { network: 1e-3, finder: 2e-2 }; // differences between engines: of meshes in meters, of a map of -10..10
const COMPARED = { network: ["vertices", "joints"], finder: ["map_center", "map_heatmap"] };
const FOUND = ["boxes", "keypoints", "scores"]; // of the finder's outputs; the others are maps
const MOST_THREADS = 8;

/** How many threads WASM gets: one, unless the server's headers isolate the page (see serve.py). */
export function threadCount() {
  return globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
}

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} cannot be read (${answer.status}); export the page again`);
  return answer;
}

/** NaN where one of them holds it. */
function largestDifference(one, other) {
  let largest = 0;
  for (let i = 0; i < one.length; i++) {
    const difference = Math.abs(one[i] - other[i]);
    if (Number.isNaN(difference)) return NaN;
    largest = Math.max(largest, difference);
  }
  return largest;
}

/** Network and finder, ready to run. */
export class Recovery {
  /** engine: "wasm" or "webgpu". `tell` is handed a line before each step that takes time. */
  static async open(engine, tell = () => {}) {
    if (engine === "webgpu" && !(await navigator.gpu?.requestAdapter()))
      throw new Error("this browser offers no WebGPU adapter; use WASM");
    tell("Loading onnxruntime-web");
    const ort = await import(LIBRARIES[engine]);
    ort.env.wasm.numThreads = threadCount();
    const recovery = new Recovery();
    recovery.ort = ort;
    recovery.record = await (await fetched("./network/export.json")).json();
    recovery.faces = new Uint32Array(await (await fetched("./faces.bin")).arrayBuffer());
    for (const [name, title] of [["network", "the network"], ["finder", "the person finder"]]) {
      tell(`Loading ${title}`);
      const bytes = new Uint8Array(await (await fetched(`./${name}/network.onnx`)).arrayBuffer());
      recovery[name] = await ort.InferenceSession.create(bytes, { executionProviders: [engine] });
    }
    return recovery;
  }

  /**
   * Throws an error where another engine gives other numbers for an image of patches: an export is verified in WASM
   * alone, and no other engine of a browser is known to be right.
   */
  async compareWith(other) {
    const side = this.record.image.size;
    for (const [name, outputs] of Object.entries(COMPARED)) {
      const [scale, offset] = name === "finder" ? [255, 0] : [2, -1];
      const patches = Float32Array.from({ length: 3 * side * side }, (_, i) => {
        const patch = Math.floor(i / (side * side)) + 3 * ((i % side) >> 4) + 5 * (Math.floor(i / side) >> 4);
        return scale * ((patch * 0.381966) % 1) + offset;
      });
      const run = ({ [name]: session, ort }) =>
        session.run({ images: new ort.Tensor("float32", patches.slice(), [1, 3, side, side]) }, outputs);
      const [ours, theirs] = [await run(this), await run(other)];
      const difference = Math.max(...outputs.map((output) => largestDifference(ours[output].data, theirs[output].data)));
      if (!(difference <= ALLOWED[name]))
        throw new Error(`its numbers differ from WASM's in this browser (${name}: ${difference.toPrecision(2)}); use WASM`);
    }
  }

  /** Frees what both networks hold. */
  async close() {
    await this.network.release();
    await this.finder.release();
  }

  /** People of an image (images.js), the surest first. twice: also small ones of large images, at five times the cost. */
  async find(image, twice = false) {
    const run = (planes, height, width) => {
      const images = new this.ort.Tensor("float32", planes, [1, 3, height, width]);
      return this.finder.run({ images }, FOUND);
    };
    return findPeople(run, image, twice);
  }

  /**
   * Meshes of the people in boxes: [{ crop, camera, vertices }]. crop { left, top, side } in pixels; vertices (V, 3)
   * floats in meters, x right, y down, z away; (x, y) lies at (scale * (x + tx) + 1) / 2 * side + left, and so on, of
   * camera [scale, tx, ty].
   */
  async recover(image, boxes) {
    if (!boxes.length) return [];
    const shown = this.record.image, size = 3 * shown.size ** 2, crops = boxes.map(cropOfBox);
    const planes = new Float32Array(boxes.length * size);
    crops.forEach((crop, i) => writeCrop(image, crop, shown, planes, i * size));
    const images = new this.ort.Tensor("float32", planes, [boxes.length, 3, shown.size, shown.size]);
    const { camera, vertices } = await this.network.run({ images });
    const each = vertices.data.length / boxes.length;
    return crops.map((crop, i) => ({
      crop,
      camera: [...camera.data.slice(3 * i, 3 * i + 3)],
      vertices: vertices.data.slice(i * each, (i + 1) * each),
    }));
  }
}
