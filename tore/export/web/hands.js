// The hand finder, MediaPipe's palms and hand landmarks: hands with joints, side and turn. What it computes is what
// tore_runtime/hands.py does; tests hold the two together.

import { cut, overlap, rotated, squareAbout, toImage, wholePixels } from "./images.js";

const PALM_SIZE = 256, HAND_SIZE = 224; // pixels; sides of the networks' images
const PALM_WRIST = 0, PALM_KNUCKLE = 2; // of a palm's keypoints: wrist, knuckle of the middle finger
const THRESHOLD = 0.5; // of the presence of a hand
const PALM_THRESHOLD = 0.5; // of palms
const SAME_PALM = 0.3; // intersection over union from which two palms are one
const SAME_HAND = 0.2; // mean distance of the joints, in sides of the box around them, up to which two hands are one
const SEARCH_MARGIN = 1.6; // side of the crop in which the turn is looked for, over the longer side of the box
const PALM_MARGIN = 2.6, PALM_SHIFT = 0.5; // side of the crop over the palm's, and how far it moves to the fingers
const UPRIGHT_MARGIN = 1.75; // side of an upright hand's crop over the longer side of the box around its joints
const WRIST = 0, KNUCKLES = [9, 9, 5, 13]; // of the 21 joints; the middle finger's counts twice
const TURNS = [0, 90, 180, 270]; // degrees

/**
 * The hands of an image, the surest first: [{ box, score, keypoints: [[x, y, presence], ...], left, rotation }] in
 * pixels of the image. `networks` runs finder and landmarks: (planes, batch, height, width) -> what is decoded.
 */
export async function findHands(networks, image) {
  const seen = await look(networks, image, await findPalms(networks, image));
  const sure = seen.filter(({ presence }) => presence >= THRESHOLD);
  return withoutDuplicates(await lookAgain(networks, image, sure));
}

/** Hands in boxes: of four turns the one in which the landmarks are surest that they see a hand, then the joints'. */
export async function handsInBoxes(networks, image, boxes) {
  const squares = boxes.flatMap((box) => TURNS.map((turn) => squareAbout(box, SEARCH_MARGIN, turn)));
  const seen = await look(networks, image, squares);
  const best = boxes.map((_, i) => seen.slice(TURNS.length * i, TURNS.length * (i + 1)).reduce((one, other) =>
    other.presence > one.presence ? other : one));
  const hands = await lookAgain(networks, image, best);
  return hands.map(({ joints, presence, left, crop }, i) => ({
    box: boxes[i],
    keypoints: presence >= THRESHOLD ? joints : null,
    left,
    rotation: crop.rotation,
  }));
}

/** The crop in which a hand stands upright, by its joints, else about its box, on whole pixels. */
export function uprightCrop({ box, keypoints, rotation }) {
  return wholePixels(keypoints ? uprightHand(keypoints) : squareAbout(box, UPRIGHT_MARGIN, rotation));
}

/** The crop in which a hand stands upright from the wrist to the knuckles, with its joints in the middle. */
function uprightHand(joints) {
  const [across, down] = [0, 1].map((axis) =>
    KNUCKLES.reduce((sum, knuckle) => sum + joints[knuckle][axis], 0) / KNUCKLES.length - joints[WRIST][axis]);
  const rotation = degrees(across, down);
  const [x, y, width, height] = boxAround(joints.map((joint) => rotated(joint, -rotation)));
  const side = UPRIGHT_MARGIN * Math.max(width, height, 1);
  const center = rotated([x + width / 2, y + height / 2], rotation);
  return { left: center[0] - side / 2, top: center[1] - side / 2, side, rotation };
}

/** By how many degrees clockwise a vector is rotated that points upward without. */
const degrees = (across, down) => (Math.atan2(across, -down) * 180) / Math.PI;

function boxAround(points) {
  const [low, high] = [Math.min, Math.max].map((end) =>
    [0, 1].map((axis) => end(...points.map((point) => point[axis]))));
  return [...low, high[0] - low[0], high[1] - low[1]];
}

/** The crops about the palms of an image, each with the hand upright. */
async function findPalms({ finder }, image) {
  const longer = Math.max(image.width, image.height), planes = new Float32Array(3 * PALM_SIZE ** 2);
  const whole = { left: (image.width - longer) / 2, top: (image.height - longer) / 2, side: longer };
  cut(image, whole, PALM_SIZE, planes);
  const { scores, boxes, keypoints } = await finder(planes, 1, PALM_SIZE, PALM_SIZE), kept = [];
  const sure = [...scores.data.keys()].filter((i) => scores.data[i] >= PALM_THRESHOLD);
  for (const i of sure.sort((one, other) => scores.data[other] - scores.data[one])) {
    const [x, y, width, height] = boxes.data.subarray(4 * i, 4 * i + 4);
    const palm = { index: i, center: [x, y], box: [x - width / 2, y - height / 2, width, height] };
    if (kept.every((other) => overlap(palm.box, other.box) < SAME_PALM)) kept.push(palm);
  }
  return kept.map(({ index, center, box }) => {
    const point = (number) => keypoints.data.subarray(14 * index + 2 * number, 14 * index + 2 * number + 2);
    const [wrist, knuckle] = [PALM_WRIST, PALM_KNUCKLE].map(point), palm = longer * Math.max(box[2], box[3]);
    const rotation = degrees(knuckle[0] - wrist[0], knuckle[1] - wrist[1]), side = PALM_MARGIN * palm;
    const [x, y] = toImage(whole, center), shift = rotated([0, -PALM_SHIFT * palm], rotation);
    return { left: x + shift[0] - side / 2, top: y + shift[1] - side / 2, side, rotation };
  });
}

/** What the landmarks see in crops of an image: [{ joints: [[x, y, presence], ...], presence, left, crop }]. */
async function look({ landmarks }, image, crops) {
  if (!crops.length) return [];
  const each = 3 * HAND_SIZE ** 2, planes = new Float32Array(crops.length * each);
  crops.forEach((crop, i) => cut(image, crop, HAND_SIZE, planes, i * each));
  const { joints, presence, right } = await landmarks(planes, crops.length, HAND_SIZE, HAND_SIZE);
  const numbers = joints.data.length / crops.length; // x, y and z of the joints
  return crops.map((crop, i) => {
    const placed = [];
    for (let at = i * numbers; at < (i + 1) * numbers; at += 3)
      placed.push([...toImage(crop, [joints.data[at], joints.data[at + 1]]), presence.data[i]]);
    return { joints: placed, presence: presence.data[i], left: right.data[i] < 0.5, crop };
  });
}

/** A second look, in the crops in which the joints of the first stand upright. */
const lookAgain = (networks, image, hands) => look(networks, image, hands.map(({ joints }) => uprightHand(joints)));

/** The surest first, without those that are a surer one once more. */
function withoutDuplicates(hands) {
  const kept = [];
  for (const { joints, presence, left, crop } of [...hands].sort((one, other) => other.presence - one.presence)) {
    const box = boxAround(joints), limit = SAME_HAND * Math.max(box[2], box[3]);
    const same = (other) => meanDistance(joints, other.keypoints) < limit;
    if (presence >= THRESHOLD && !kept.some(same))
      kept.push({ box, score: presence, keypoints: joints, left, rotation: crop.rotation });
  }
  return kept;
}

function meanDistance(one, other) {
  return one.reduce((sum, [x, y], i) => sum + Math.hypot(x - other[i][0], y - other[i][1]), 0) / one.length;
}
