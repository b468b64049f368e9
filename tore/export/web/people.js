// The person finder, MoveNet MultiPose: the image at its size, and from its candidates to people. What it computes is
// what tore_runtime/movenet.py does before it looks at each person again; tests hold the two together.

import { overlap, resizedPlanes, roundHalfEven } from "./images.js";

const THRESHOLD = 0.25; // of scores
const FIRST_LOOK = 256, SECOND_LOOK = 512; // pixels of the longer side
const SMALL = 0.04; // of the image: the second look adds people whose boxes are smaller
const STRIDE = 32; // the image's sides are multiples of it
const LIMBS = [5, 17]; // shoulders, elbows, wrists, hips, knees, ankles
const RELIABLE = 0.3; // a keypoint that scores lower does not enlarge the box
const SAME_BOX = 0.6, SAME_POSE = 0.08; // of two who are one person

/**
 * Whom the finder sees, the surest first: [{ box, score, keypoints: [[x, y, score], ...] }] in pixels of the image.
 * `run` is the network: (planes, height, width) -> { boxes, keypoints, scores } in shares of the sides. `twice`: look
 * at large images again, at twice the size, for small people.
 */
export async function findPeople(run, image, twice) {
  let found = await look(run, image, FIRST_LOOK);
  if (twice && Math.max(image.width, image.height) >= SECOND_LOOK) {
    const small = SMALL * image.width * image.height;
    const closer = await look(run, image, SECOND_LOOK);
    found = [...found, ...closer.filter(({ box }) => box[2] * box[3] < small)];
  }
  const people = withoutDuplicates(found);
  return withoutDuplicates(people.map((person) => ({ ...person, box: holding(person, image) })));
}

/** Whom the network sees in the image shrunk or enlarged to a longer side. */
async function look(run, image, longer) {
  const factor = longer / Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((side) => Math.max(1, roundHalfEven(side * factor)));
  const [wide, high] = [width, height].map((side) => Math.ceil(side / STRIDE) * STRIDE);
  const { boxes, keypoints, scores } = await run(resizedPlanes(image, width, height, wide, high), high, wide);
  const across = (wide * image.width) / width, down = (high * image.height) / height;
  const each = keypoints.data.length / scores.data.length; // candidates in the image, three numbers a keypoint
  return Array.from(scores.data, (score, i) => {
    const corners = boxes.data.slice(4 * i, 4 * i + 4), placed = [];
    const [left, top] = [corners[0] * across, corners[1] * down];
    const right = Math.min(corners[2] * across, image.width), bottom = Math.min(corners[3] * down, image.height);
    for (let k = i * each; k < (i + 1) * each; k += 3)
      placed.push([keypoints.data[k] * across, keypoints.data[k + 1] * down, keypoints.data[k + 2]]);
    return { box: [left, top, right - left, bottom - top], score, keypoints: placed };
  }).filter(({ box, score }) => score >= THRESHOLD && box[2] > 0 && box[3] > 0);
}

/** The surest first, without those who are somebody surer once more. */
function withoutDuplicates(people) {
  const kept = [];
  for (const person of [...people].sort((one, other) => other.score - one.score))
    if (!kept.some((other) => isSame(person, other))) kept.push(person);
  return kept;
}

function isSame(one, other) {
  const distances = [];
  for (let k = LIMBS[0]; k < LIMBS[1]; k++) {
    const [a, b] = [one.keypoints[k], other.keypoints[k]];
    if (Math.min(a[2], b[2]) > RELIABLE) distances.push(Math.hypot(a[0] - b[0], a[1] - b[1]));
  }
  if (distances.length < 2) return overlap(one.box, other.box) > SAME_BOX;
  const mean = distances.reduce((sum, value) => sum + value) / distances.length;
  return mean < SAME_POSE * Math.min(Math.max(...one.box.slice(2)), Math.max(...other.box.slice(2)));
}

/** The box, enlarged to hold the reliable keypoints within the image. */
function holding({ box: [x, y, width, height], keypoints }, image) {
  const sure = keypoints.filter((point) => point[2] > RELIABLE);
  const columns = [x, x + width, ...sure.map((point) => Math.min(Math.max(point[0], 0), image.width))];
  const rows = [y, y + height, ...sure.map((point) => Math.min(Math.max(point[1], 0), image.height))];
  const left = Math.min(...columns), top = Math.min(...rows);
  return [left, top, Math.max(...columns) - left, Math.max(...rows) - top];
}
