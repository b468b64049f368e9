// The two networks in onnxruntime-web: from an image to people, and from boxes to meshes.

import { cropOfBox, writeCrop } from "./images.js";
import { findPeople } from "./people.js";

const LIBRARIES = { wasm: "./lib/ort.wasm.bundle.min.mjs", webgpu: "./lib/ort.webgpu.bundle.min.mjs" };
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
