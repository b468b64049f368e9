// The person finder, MoveNet MultiPose: the image at its size, and from its candidates to people. What it computes is
// what tore_runtime/movenet.py does before it looks at each person again; tests hold the two together.

import { overlap, partOf, resizedPlanes, roundHalfEven } from "./images.js";

const THRESHOLD = 0.25; // of scores
const FAINT = 0.15; // ... from which somebody counts where a look is full
const FIRST_LOOK = 256, SECOND_LOOK = 512; // pixels of the longer side
const SMALL = 0.04, APART = 0.1; // the second look adds boxes that are smaller (of the image) or overlap others less
const MOST = 6, CROWD = 4; // people whom a look sees at most; small ones from which parts are looked at
const PARTS = [2.5, 3.5]; // longer sides of the parts over the median of the people's
const LEAST_PART = 0.25, LARGEST_PART = 0.6; // of the image's longer side
const SHARED = 0.5; // of a part: what its neighbor shows too, at least
const PART_LOOK = 384; // pixels of a part's longer side
const CUT = 0.02; // of a part's side: who comes nearer to an edge within the image is cut there
const STRIDE = 32; // the image's sides are multiples of it
const LIMBS = [5, 17]; // shoulders, elbows, wrists, hips, knees, ankles
const RELIABLE = 0.3; // a keypoint that scores lower does not enlarge the box, nor any of limbs of a lower mean than
const DOUBTFUL = 0.5;
const SAME_BOX = 0.6, SAME_POSE = 0.08; // of two who are one person

/**
 * Whom the finder sees, the surest first: [{ box, score, keypoints: [[x, y, score], ...] }] in pixels of the image.
 * `run` is the network: (planes, height, width) -> { boxes, keypoints, scores } in shares of the sides. `twice`: look
 * at large images again, at twice the size, for small people, and at parts of images that are full.
 */
export async function findPeople(run, image, twice) {
  const first = await look(run, image, FIRST_LOOK);
  const found = (twice ? await further(run, image, first) : first).filter(({ score }) => score >= THRESHOLD);
  const people = withoutDuplicates(found);
  return withoutDuplicates(people.map((person) => ({ ...person, box: holding(person, image) })));
}

/** Whom the first look found, and whom those see for which it or the size of the image gives a reason. */
async function further(run, image, first) {
  const small = ({ box }) => box[2] * box[3] < SMALL * image.width * image.height;
  let found = first, full = first.length === MOST;
  if (Math.max(image.width, image.height) >= SECOND_LOOK) {
    const closer = await look(run, image, SECOND_LOOK);
    full = full || closer.length === MOST;
    const apart = ({ box }) => !first.some((other) => overlap(box, other.box) >= APART);
    found = withoutDuplicates([...first, ...closer.filter((person) => small(person) || apart(person))]);
  }
  const sure = found.filter(({ score }) => score >= THRESHOLD);
  if (full || sure.filter(small).length >= CROWD)
    for (const part of partsOf(image, sure)) found = [...found, ...(await lookAtPart(run, image, part))];
  return found;
}

/** Whom the network sees in a part of the image, but nobody whom the part's edges cut. */
async function lookAtPart(run, image, part) {
  const { left, top, width, height } = part, people = await look(run, partOf(image, part), PART_LOOK);
  return people.filter(({ box: [x, y, wide, high] }) =>
    (left === 0 || x >= CUT * width) && (left + width === image.width || x + wide <= (1 - CUT) * width) &&
    (top === 0 || y >= CUT * height) && (top + height === image.height || y + high <= (1 - CUT) * height)
  ).map(({ box: [x, y, ...size], score, keypoints }) => ({
    box: [x + left, y + top, ...size], score, keypoints: keypoints.map(([u, v, sure]) => [u + left, v + top, sure]),
  }));
}

/** The parts { left, top, width, height } of an image that fit people as large as these, row by row. */
export function partsOf({ width, height }, people) {
  const sides = people.map(({ box }) => Math.max(box[2], box[3])).sort((one, other) => one - other);
  const middle = sides.length >> 1, median = sides.length % 2 ? sides[middle] : (sides[middle - 1] + sides[middle]) / 2;
  const person = sides.length ? median / Math.max(width, height) : 1;
  const within = (share) => Math.min(Math.max(share, LEAST_PART), LARGEST_PART);
  return [...new Set(PARTS.map((times) => within(times * person)))].flatMap((share) => {
    const steps = Math.ceil((1 - share) / (share * (1 - SHARED)));
    const [wide, high] = [Math.ceil(share * width), Math.ceil(share * height)];
    const starts = (room) => Array.from({ length: steps + 1 }, (_, step) => Math.floor((room * step) / steps));
    return starts(height - high).flatMap((top) =>
      starts(width - wide).map((left) => ({ left, top, width: wide, height: high })));
  });
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
  }).filter(({ box, score }) => score >= FAINT && box[2] > 0 && box[3] > 0);
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

/** The box, of somebody whose limbs are not doubtful enlarged to hold the reliable keypoints within the image. */
function holding({ box: [x, y, width, height], keypoints }, image) {
  const limbs = keypoints.slice(...LIMBS), mean = limbs.reduce((sum, point) => sum + point[2], 0) / limbs.length;
  const sure = mean >= DOUBTFUL ? keypoints.filter((point) => point[2] > RELIABLE) : [];
  const columns = [x, x + width, ...sure.map((point) => Math.min(Math.max(point[0], 0), image.width))];
  const rows = [y, y + height, ...sure.map((point) => Math.min(Math.max(point[1], 0), image.height))];
  const left = Math.min(...columns), top = Math.min(...rows);
  return [left, top, Math.max(...columns) - left, Math.max(...rows) - top];
}
