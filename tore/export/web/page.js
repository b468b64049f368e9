// The page: a photograph or the camera in, meshes over the image and milliseconds out.

import { MeshView } from "./mesh.js";
import { Recovery, threadCount } from "./recovery.js";

const CAMERA = { video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false };
const SMALLEST = 8; // pixels of the image; a smaller box is a click
const FRAMES = 30; // over which the times of a film are averaged
const MOST_PIXELS = 2560; // of the longer side of a photograph as it is shown

const WORDS = {
  body: { title: "Body meshes in the browser", one: "person", many: "people", nobody: "Nobody is found" },
  hand: { title: "Hand meshes in the browser", one: "hand", many: "hands", nobody: "No hand is found" },
};

const find = (id) => document.getElementById(id);
const canvas = find("image"), context = canvas.getContext("2d", { willReadFrequently: true });
const still = document.createElement("canvas"), video = find("video");
const say = (text) => (find("state").textContent = text);

/** What the page knows, for its tests as well. */
export const state = { people: [], times: [], frames: 0, running: false, work: Promise.resolve() };

/**
 * Runs one job after the other, since a session takes one call at a time. Whether it was done: an error is said and
 * ends the film.
 */
function inTurn(job) {
  const failed = (error) => {
    stopCamera();
    say(`${error.message}.`);
    return false;
  };
  state.work = state.work.then(job).then(() => true, failed);
  return state.work;
}

/** Loads the networks for an engine, which is to give the numbers of the one before it. */
async function open(engine) {
  const before = state.recovery, recovery = await Recovery.open(engine, say);
  if (before) {
    say("Comparing it with the one before");
    const compared = state.work.then(() => recovery.compareWith(before));
    state.work = compared.catch(() => recovery.close());
    await compared;
    inTurn(() => before.close());
  }
  state.recovery = recovery;
  state.view ??= new MeshView(find("mesh"), state.recovery.faces);
  const threads = threadCount();
  find("engine-name").textContent = engine === "wasm" ? `WASM, ${threads} thread${threads > 1 ? "s" : ""}` : "WebGPU";
}

/** Finds people or hands, of boxes where some are given, and their meshes; draws them, unless another image is shown. */
async function recover(image, { boxes = null, twice = false } = {}) {
  if (!state.running) state.times = [];
  const { recovery } = state, start = performance.now();
  const chosen = await (boxes ? recovery.inBoxes(image, boxes) : recovery.find(image, twice));
  const found = performance.now();
  const people = await recovery.recover(image, chosen);
  const meshes = performance.now();
  if (state.image && state.image !== image) return;
  state.people = people;
  state.view.draw(image.width, image.height, state.people);
  const drawn = performance.now();
  state.times.push({ finder: found - start, network: meshes - found, drawing: drawn - meshes });
  state.times = state.times.slice(-FRAMES);
  state.frames++;
  tell();
}

function tell() {
  const mean = (name) => state.times.reduce((sum, each) => sum + each[name], 0) / state.times.length;
  const parts = ["finder", "network", "drawing"].map((name) => `${name} ${mean(name).toFixed(0)} ms`);
  const count = state.people.length, who = count === 1 ? state.words.one : state.words.many;
  const rate = state.running && state.rate ? `, ${state.rate.toFixed(1)} images a second` : "";
  find("times").textContent = `${count} ${who}: ${parts.join(", ")}${rate}`;
}

/** An image (images.js) of what is drawn on the canvas that is shown. */
function pixels(source, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** A photograph's file: shown, its people or hands found. */
async function showFile(file) {
  stopCamera();
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    return say(`${file.name} is no image that this browser reads.`);
  }
  const factor = Math.min(1, MOST_PIXELS / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * factor)));
  const image = pixels(bitmap, width, height);
  Object.assign(still, { width, height });
  still.getContext("2d").drawImage(canvas, 0, 0);
  Object.assign(state, { image, people: [] });
  state.view.draw(width, height, []);
  say("Computing");
  await new Promise((next) => setTimeout(next)); // so that the image is seen first
  const done = await inTurn(() => recover(image, { twice: true }));
  if (!done || state.image !== image) return;
  const { one, nobody } = state.words;
  say(state.people.length ? `Drag a box around a ${one} to take that one.` : `${nobody}; drag a box around a ${one}.`);
}

async function startCamera() {
  const button = find("camera");
  let stream;
  button.disabled = true; // the user is asked once at a time
  try {
    stream = await navigator.mediaDevices.getUserMedia(CAMERA);
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    for (const track of stream?.getTracks() ?? []) track.stop();
    return say(`The camera cannot be used: ${error.message}.`);
  } finally {
    button.disabled = false;
  }
  Object.assign(state, { running: true, image: null, times: [], frames: 0, rate: 0 });
  button.textContent = "Stop the camera";
  say("The camera's images stay in this page.");
  const ends = [performance.now()];
  while (state.running) {
    await inTurn(() => state.running && recover(pixels(video, video.videoWidth, video.videoHeight)));
    ends.push(performance.now());
    if (ends.length > FRAMES) ends.shift();
    state.rate = (1000 * (ends.length - 1)) / (ends.at(-1) - ends[0]);
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  if (!state.running) return;
  state.running = false;
  for (const track of video.srcObject.getTracks()) track.stop();
  find("camera").textContent = "Use the camera";
  say("The camera is off.");
}

/** Lets a box be dragged over a photograph. */
function watchBoxes(stage) {
  let from = null;
  const point = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [((event.clientX - frame.left) * canvas.width) / frame.width,
            ((event.clientY - frame.top) * canvas.height) / frame.height];
  };
  const box = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
  stage.addEventListener("pointerdown", (event) => {
    if (!state.image) return;
    from = point(event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!from) return;
    context.drawImage(still, 0, 0);
    context.lineWidth = Math.max(2, canvas.width / 300);
    context.strokeStyle = "#ffffff";
    context.strokeRect(...box(from, point(event)));
  });
  stage.addEventListener("pointerup", async (event) => {
    if (!from) return;
    const chosen = box(from, point(event));
    from = null;
    context.drawImage(still, 0, 0);
    const { image } = state;
    if (Math.min(chosen[2], chosen[3]) >= SMALLEST) await inTurn(() => recover(image, { boxes: [chosen] }));
  });
}

/** Loads what the choice of engine says, or stays with the one before. */
async function choose(select) {
  const before = select.dataset.used ?? "wasm";
  try {
    await open(select.value);
    select.dataset.used = select.value;
    say("Ready: choose an image, or use the camera.");
  } catch (error) {
    say(`${error.message}.`);
    if (select.value !== before) select.value = before;
  }
}

async function start() {
  const about = await (await fetch("./web.json")).json();
  state.words = WORDS[about.kind];
  document.title = find("title").textContent = state.words.title;
  find("about").textContent = `Network: ${about.network}. Body model: ${about.body}.`;
  const select = find("engine");
  await choose(select);
  if (!state.recovery) return;
  for (const id of ["file", "camera", "engine", "shown"]) find(id).disabled = false;
  select.addEventListener("change", () => choose(select));
  find("file").addEventListener("change", ({ target }) => target.files.length && showFile(target.files[0]));
  find("camera").addEventListener("click", () => (state.running ? stopCamera() : startCamera()));
  find("shown").addEventListener("change", ({ target }) => (find("mesh").hidden = !target.checked));
  watchBoxes(find("stage"));
}

start();
