// What the networks see of an image: a person's crop, and the whole image at the finder's size.
//
// An image is { data, width, height }: RGBA bytes, row by row, as `getImageData` gives them. Boxes are
// [x, y, width, height] in pixels of the image, whose outer upper left corner is at (0, 0). A crop is the square
// { left, top, side }, which may reach beyond the image, where it is black; with a rotation it shows the image rotated
// by so many degrees counter-clockwise as seen, about the square's center (tore_runtime/crop.py).

const BOX_MARGIN = 1.2; // side of a crop over the longer side of the box

/** Python's round: a half goes to the even neighbor. */
export function roundHalfEven(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** The crop about a person's box, on whole pixels. */
export function cropOfBox(box) {
  return wholePixels(squareAbout(box, BOX_MARGIN));
}

/** The square about the center of a box, `margin` times its longer side. */
export function squareAbout([x, y, width, height], margin, rotation = 0) {
  const side = margin * Math.max(width, height);
  return { left: x + width / 2 - side / 2, top: y + height / 2 - side / 2, side, rotation };
}

/** The nearest crop whose square, before its rotation, covers whole pixels. */
export function wholePixels({ left, top, side: exact, rotation = 0 }) {
  const side = Math.max(1, roundHalfEven(exact));
  const [x, y] = [left, top].map((corner) => roundHalfEven(corner + exact / 2 - side / 2));
  return { left: x, top: y, side, rotation };
}

/** A part { left, top, width, height } of an image, in whole pixels, as an image. */
export function partOf(image, { left, top, width, height }) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const start = 4 * ((top + row) * image.width + left);
    data.set(image.data.subarray(start, start + 4 * width), 4 * row * width);
  }
  return { data, width, height };
}

/** Intersection over union of two boxes. */
export function overlap(one, other) {
  const sides = [0, 1].map((axis) =>
    Math.max(0, Math.min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - Math.max(one[axis], other[axis])));
  const shared = sides[0] * sides[1];
  return shared / Math.max(one[2] * one[3] + other[2] * other[3] - shared, 1e-9);
}

/** A vector [x, y] rotated by degrees, clockwise as seen. */
export function rotated([x, y], degrees) {
  if (!degrees) return [x, y];
  const cosine = Math.cos((degrees * Math.PI) / 180), sine = Math.sin((degrees * Math.PI) / 180);
  return [cosine * x - sine * y, sine * x + cosine * y];
}

/** A point [x, y] of a crop, in shares of its sides, in pixels of the image. */
export function toImage({ left, top, side, rotation = 0 }, [x, y]) {
  const [right, down] = rotated([side * (x - 0.5), side * (y - 0.5)], rotation);
  return [left + side / 2 + right, top + side / 2 + down];
}

/** The two source pixels of each of `size` pixels of a line of `source`, and the share of the second one. */
function taps(source, size) {
  const near = new Int32Array(size), far = new Int32Array(size), share = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const position = ((i + 0.5) * source) / size - 0.5, low = Math.floor(position);
    const inside = low >= 0 && low < source - 1;
    near[i] = Math.min(Math.max(low, 0), source - 1);
    far[i] = Math.min(near[i] + 1, source - 1);
    share[i] = inside ? position - low : 0;
  }
  return { near, far, share };
}

/**
 * Writes a crop of whole pixels as the network is shown it, (3, size, size) from `start` on in the floats `target`:
 * bilinear, RGB normalized; mirrored, as a left hand is. `shown` is { size, mean, std } of export.json.
 */
export function writeCrop(image, crop, { size, mean, std }, target, start = 0, mirrored = false) {
  const line = taps(crop.side, size), plane = size * size;
  if (crop.rotation) {
    const places = [...line.near, ...line.far], own = Int32Array.from(places.keys());
    [image, crop] = [turnedPixels(image, crop, places), { left: 0, top: 0 }];
    Object.assign(line, { near: own.subarray(0, size), far: own.subarray(size) });
  }
  const { data, width, height } = image;
  const bytes = (places, origin, limit, step) =>
    Int32Array.from(places, (place) => (place + origin >= 0 && place + origin < limit ? (place + origin) * step : -1));
  const [left, right] = [line.near, line.far].map((places) => bytes(places, crop.left, width, 4));
  const [upper, lower] = [line.near, line.far].map((places) => bytes(places, crop.top, height, 4 * width));
  for (let row = 0; row < size; row++) {
    const a = upper[row], b = lower[row], down = line.share[row];
    for (let column = 0; column < size; column++) {
      const l = left[column], r = right[column], across = line.share[column];
      const at = start + row * size + (mirrored ? size - 1 - column : column);
      for (let color = 0; color < 3; color++) {
        const pick = (y, x) => (y < 0 || x < 0 ? 0 : data[y + x + color]);
        const above = pick(a, l) * (1 - across) + pick(a, r) * across;
        const below = pick(b, l) * (1 - across) + pick(b, r) * across;
        const value = above * (1 - down) + below * down;
        target[at + color * plane] = (value / 255 - mean[color]) / std[color];
      }
    }
  }
}

/**
 * The pixels of a rotated crop at `places` of its rows and of its columns, as an image of floats: as the official code
 * rotates (tore_runtime/cutting.py), with positions in 1/32 pixel. The square is grown so that it holds its corners
 * when it is rotated; what lies beyond the grown one is black.
 */
function turnedPixels(image, { left, top, side, rotation }, places) {
  const margin = Math.trunc(Math.hypot(side, side) / 2 - side / 2), grown = side + 2 * margin, middle = (grown - 1) / 2;
  const [cosine, sine] = rotated([1, 0], rotation), size = places.length;
  const fixed = (value) => roundHalfEven(value * 1024);
  const shiftX = (1 - cosine) * middle + sine * middle, shiftY = (1 - cosine) * middle - sine * middle;
  const own = places.map((place) => place + margin), data = new Float32Array(4 * size * size);
  const [acrossX, acrossY] = [cosine, sine].map((factor) => Int32Array.from(own, (place) => fixed(factor * place)));
  const bounds = [Math.max(0, -left + margin), Math.max(0, -top + margin)];
  const limits = [Math.min(grown, image.width - left + margin), Math.min(grown, image.height - top + margin)];
  own.forEach((place, row) => {
    const downX = fixed(-sine * place + shiftX) + 16, downY = fixed(cosine * place + shiftY) + 16;
    for (let column = 0; column < size; column++) {
      const x = (downX + acrossX[column]) >> 5, y = (downY + acrossY[column]) >> 5;
      const at = 4 * (row * size + column);
      blend(image, x >> 5, y >> 5, (x & 31) / 32, (y & 31) / 32, bounds, limits, left - margin, top - margin, data, at);
    }
  });
  return { data, width: size, height: size };
}

/** Writes to data[at ...] RGB between four pixels of an image, the first at (x, y) + (left, top); only those within. */
function blend(image, x, y, across, down, bounds, limits, left, top, data, at) {
  const from = 4 * ((y + top) * image.width + x + left), next = from + 4 * image.width, source = image.data;
  const near = x >= bounds[0] && x < limits[0], far = x + 1 >= bounds[0] && x + 1 < limits[0];
  const above = y >= bounds[1] && y < limits[1] ? 1 - down : 0;
  const below = y + 1 >= bounds[1] && y + 1 < limits[1] ? down : 0;
  const a = near ? (1 - across) * above : 0, b = far ? across * above : 0;
  const c = near ? (1 - across) * below : 0, d = far ? across * below : 0;
  for (let color = 0; color < 3; color++) {
    let value = 0; // a share of 0 may be of no pixel
    if (a) value += a * source[from + color];
    if (b) value += b * source[from + 4 + color];
    if (c) value += c * source[next + color];
    if (d) value += d * source[next + 4 + color];
    data[at + color] = value;
  }
}

/**
 * Writes a crop as a finder is shown it, (3, size, size) from `start` on in the floats `target`: whole numbers in
 * 0..255, smoothed where it shrinks.
 */
export function cut(image, crop, size, target, start = 0) {
  let { left, top, side, rotation = 0 } = crop;
  const scale = (2 * size) / side;
  if (scale < 1) { // shrunk as a whole first, so that interpolation passes over no pixel
    image = resized(image, ...[image.width, image.height].map((length) => roundHalfEven(length * scale)), 1 / scale);
    [left, top, side] = [left * scale, top * scale, 2 * size];
  }
  const plane = size * size, step = side / size, bounds = [0, 0], limits = [image.width, image.height];
  const [right, down] = [rotated([step, 0], rotation), rotated([0, step], rotation)], color = new Float32Array(3);
  const first = toImage({ left, top, side, rotation }, [0.5 / size, 0.5 / size]).map((value) => value - 0.5);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = first[0] + column * right[0] + row * down[0], y = first[1] + column * right[1] + row * down[1];
      const near = Math.floor(x), high = Math.floor(y), at = start + row * size + column;
      blend(image, near, high, x - near, y - high, bounds, limits, 0, 0, color, 0);
      for (let c = 0; c < 3; c++) target[at + c * plane] = Math.round(color[c]);
    }
  }
}

/** For each of `size` pixels: the first source pixel, and the weights of it and those behind it; they sum to 1. */
function shares(source, size, step) {
  if (step <= 1) {
    const { near, share } = taps(source, size);
    return Array.from(near, (first, i) => ({ first, weights: share[i] > 0 ? [1 - share[i], share[i]] : [1] }));
  }
  return Array.from({ length: size }, (_, i) => {
    const begin = i * step, end = Math.min(begin + step, source), first = Math.floor(begin), weights = [];
    for (let pixel = first; pixel < end - 1e-9; pixel++)
      weights.push((Math.min(pixel + 1, end) - Math.max(pixel, begin)) / (end - begin));
    return { first, weights };
  });
}

/**
 * The image at width x height: the mean of what a pixel covers where it shrinks, bilinear where it grows. step: pixels
 * of the image that one covers, where the sides do not tell it exactly.
 */
export function resized(image, width, height, step = null) {
  const { data } = image, columns = shares(image.width, width, step ?? image.width / width);
  const rows = shares(image.height, height, step ?? image.height / height);
  const narrow = new Float32Array(3 * width * image.height);
  for (let y = 0, out = 0; y < image.height; y++) {
    for (const { first, weights } of columns) {
      let red = 0, green = 0, blue = 0, at = 4 * (y * image.width + first);
      for (const weight of weights) {
        red += weight * data[at];
        green += weight * data[at + 1];
        blue += weight * data[at + 2];
        at += 4;
      }
      narrow[out++] = red;
      narrow[out++] = green;
      narrow[out++] = blue;
    }
  }
  const shrunk = new Uint8ClampedArray(4 * width * height).fill(255), line = new Float32Array(3 * width);
  rows.forEach(({ first, weights }, y) => {
    line.fill(0);
    weights.forEach((weight, i) => {
      const at = 3 * width * (first + i);
      for (let x = 0; x < 3 * width; x++) line[x] += weight * narrow[at + x];
    });
    for (let x = 0; x < 3 * width; x++) shrunk[4 * (y * width + ((x / 3) | 0)) + (x % 3)] = line[x];
  });
  return { data: shrunk, width, height };
}

/** The image at width x height, whole numbers in 0..255, as floats (3, paddedHeight, paddedWidth), black behind it. */
export function resizedPlanes(image, width, height, paddedWidth, paddedHeight) {
  const { data } = resized(image, width, height), plane = paddedWidth * paddedHeight;
  const planes = new Float32Array(3 * plane);
  for (let y = 0, from = 0; y < height; y++)
    for (let x = 0, at = y * paddedWidth; x < width; x++, at++, from += 4)
      for (let color = 0; color < 3; color++) planes[color * plane + at] = data[from + color];
  return planes;
}
