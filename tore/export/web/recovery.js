// The networks in onnxruntime-web: from an image to people or hands, and from those to meshes.

import { findHands, handsInBoxes, uprightCrop } from "./hands.js";
import { cropOfBox, rotated, writeCrop } from "./images.js";
import { findPeople } from "./people.js";

const LIBRARIES = { wasm: "./lib/ort.wasm.bundle.min.mjs", webgpu: "./lib/ort.webgpu.bundle.min.mjs" };
// Whom a page finds, and by which networks in folders of these names. compared: of outputs, by how much engines may
// differ; of a map from -10 to 10, else of shares of an image of `side` pixels, and of probabilities.
const KINDS = {
  body: {
    detectors: { finder: { title: "the person finder", side: 256, compared: { map_center: 2e-2, map_heatmap: 2e-2 } } },
    find: ({ finder }, image, twice) => findPeople((planes, ...sides) => finder(planes, 1, ...sides), image, twice),
    inBoxes: async (networks, image, boxes) => boxes.map((box) => ({ box })),
  },
  hand: {
    detectors: {
      finder: { title: "the palm finder", side: 256, compared: { scores: 1e-2 } },
      landmarks: { title: "the hand landmarks", side: 224, compared: { joints: 1e-3, presence: 1e-2, right: 1e-2 } },
    },
    find: findHands,
    inBoxes: handsInBoxes,
  },
};
const MESHES = { vertices: 1e-3, joints: 1e-3 }; // meters
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

/** An image of patches from `low` to `high`, (3, side, side). */
function patches(side, low, high) {
  return Float32Array.from({ length: 3 * side * side }, (_, i) => {
    const patch = Math.floor(i / (side * side)) + 3 * ((i % side) >> 4) + 5 * (Math.floor(i / side) >> 4);
    return low + (high - low) * ((patch * 0.381966) % 1);
  });
}

/** A mesh that was told of a mirrored or rotated crop, along the axes of the image (tore_runtime/frames.py). */
function inAxesOfImage({ crop, left, camera: [scale, ...shift], vertices }) {
  const sign = left ? -1 : 1, own = vertices.slice();
  if (left || crop.rotation)
    for (let at = 0; at < own.length; at += 3)
      [own[at], own[at + 1]] = rotated([sign * own[at], own[at + 1]], crop.rotation);
  return { crop, left, camera: [scale, ...rotated([sign * shift[0], shift[1]], crop.rotation)], vertices: own };
}

const isWithin = ({ box: [x, y, width, height] }, image) =>
  x < image.width && y < image.height && x + width > 0 && y + height > 0;

/** The network and what finds people or hands for it, ready to run. */
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
    recovery.kind = KINDS[recovery.record.body.kind];
    recovery.faces = new Uint32Array(await (await fetched("./faces.bin")).arrayBuffer());
    recovery.sessions = {};
    for (const [name, { title }] of Object.entries({ network: { title: "the network" }, ...recovery.kind.detectors })) {
      tell(`Loading ${title}`);
      const bytes = new Uint8Array(await (await fetched(`./${name}/network.onnx`)).arrayBuffer());
      recovery.sessions[name] = await ort.InferenceSession.create(bytes, { executionProviders: [engine] });
    }
    recovery.networks = Object.fromEntries(
      Object.keys(recovery.kind.detectors).map((name) => [name, (...images) => recovery.run(name, ...images)]));
    return recovery;
  }

  /** What a network tells of images (batch, 3, height, width): of the person finder without its maps. */
  run(name, planes, batch, height, width) {
    const session = this.sessions[name], images = new this.ort.Tensor("float32", planes, [batch, 3, height, width]);
    const decoded = session.outputNames.filter((output) => !output.startsWith("map_"));
    return session.run({ images }, decoded);
  }

  /**
   * Throws an error where another engine gives other numbers for an image of patches: an export is verified in WASM
   * alone, and no other engine of a browser is known to be right.
   */
  async compareWith(other) {
    const network = { side: this.record.image.size, compared: MESHES, range: [-1, 1] };
    for (const [name, { side, compared, range = [0, 255] }] of Object.entries({ network, ...this.kind.detectors })) {
      const planes = patches(side, ...range), outputs = Object.keys(compared);
      const run = ({ sessions, ort }) =>
        sessions[name].run({ images: new ort.Tensor("float32", planes.slice(), [1, 3, side, side]) }, outputs);
      const [ours, theirs] = [await run(this), await run(other)];
      for (const [output, allowed] of Object.entries(compared)) {
        const difference = largestDifference(ours[output].data, theirs[output].data);
        if (!(difference <= allowed))
          throw new Error(
            `its numbers differ from WASM's in this browser (${name}: ${difference.toPrecision(2)}); use WASM`);
      }
    }
  }

  /** Frees what the networks hold. */
  async close() {
    for (const session of Object.values(this.sessions)) await session.release();
  }

  /**
   * People, or hands, of an image (images.js), the surest first: [{ box, ... }]. twice: also small people of large
   * images, at five times the cost.
   */
  async find(image, twice = false) {
    const found = await this.kind.find(this.networks, image, twice);
    return found.filter((each) => isWithin(each, image));
  }

  /** The same of given boxes, one of each. */
  async inBoxes(image, boxes) {
    return this.kind.inBoxes(this.networks, image, boxes);
  }

  /**
   * Meshes of whom `find` or `inBoxes` gave: [{ crop, left, camera, vertices }]. crop { left, top, side, rotation } in
   * pixels; vertices (V, 3) floats in meters, x right, y down, z away in the image's axes; (x, y) lies at
   * (scale * (x + tx) + 1) / 2 * side + left, and so on, of camera [scale, tx, ty].
   */
  async recover(image, found) {
    if (!found.length) return [];
    const shown = this.record.image, size = 3 * shown.size ** 2;
    const crops = found.map((each) => (shown.upright ? uprightCrop(each) : cropOfBox(each.box)));
    const planes = new Float32Array(found.length * size);
    crops.forEach((crop, i) => writeCrop(image, crop, shown, planes, i * size, found[i].left));
    const { camera, vertices } = await this.run("network", planes, found.length, shown.size, shown.size);
    const each = vertices.data.length / found.length;
    return crops.map((crop, i) => inAxesOfImage({
      crop,
      left: Boolean(found[i].left),
      camera: camera.data.slice(3 * i, 3 * i + 3),
      vertices: vertices.data.subarray(i * each, (i + 1) * each),
    }));
  }
}
