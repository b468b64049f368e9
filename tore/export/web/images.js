// What the networks see of an image: a person's crop, and the whole image at the finder's size.
//
// An image is { data, width, height }: RGBA bytes, row by row, as `getImageData` gives them. Boxes are
// [x, y, width, height] in pixels of the image, whose outer upper left corner is at (0, 0).

const BOX_MARGIN = 1.2; // side of a crop over the longer side of the box

/** Python's round: a half goes to the even neighbor. */
export function roundHalfEven(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** The square { left, top, side } about a box, on whole pixels; it may reach beyond the image. */
export function cropOfBox([x, y, width, height]) {
  const side = Math.max(1, roundHalfEven(BOX_MARGIN * Math.max(width, height)));
  return { left: roundHalfEven(x + width / 2 - side / 2), top: roundHalfEven(y + height / 2 - side / 2), side };
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
 * Writes a crop as the network is shown it, (3, size, size) from `start` on in the floats `target`: bilinear, black
 * beyond the image, RGB normalized. `shown` is { size, mean, std } of export.json.
 */
export function writeCrop(image, crop, { size, mean, std }, target, start = 0) {
  const { data, width, height } = image, line = taps(crop.side, size), plane = size * size;
  const bytes = (places, origin, limit, step) =>
    Int32Array.from(places, (place) => (place + origin >= 0 && place + origin < limit ? (place + origin) * step : -1));
  const [left, right] = [line.near, line.far].map((places) => bytes(places, crop.left, width, 4));
  const [upper, lower] = [line.near, line.far].map((places) => bytes(places, crop.top, height, 4 * width));
  for (let row = 0; row < size; row++) {
    const a = upper[row], b = lower[row], down = line.share[row];
    for (let column = 0; column < size; column++) {
      const l = left[column], r = right[column], across = line.share[column], at = start + row * size + column;
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

/** For each of `size` pixels: the first source pixel, and the weights of it and those behind it; they sum to 1. */
function shares(source, size) {
  const step = source / size;
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
 * The image at width x height, whole numbers in 0..255, as floats (3, paddedHeight, paddedWidth): the mean of what a
 * pixel covers where it shrinks, bilinear where it grows; black behind it.
 */
export function resizedPlanes(image, width, height, paddedWidth, paddedHeight) {
  const { data } = image, columns = shares(image.width, width), rows = shares(image.height, height);
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
  const planes = new Float32Array(3 * paddedWidth * paddedHeight), line = new Float32Array(3 * width);
  rows.forEach(({ first, weights }, y) => {
    line.fill(0);
    weights.forEach((weight, i) => {
      const at = 3 * width * (first + i);
      for (let x = 0; x < 3 * width; x++) line[x] += weight * narrow[at + x];
    });
    for (let x = 0; x < 3 * width; x++)
      planes[((x % 3) * paddedHeight + y) * paddedWidth + ((x / 3) | 0)] = Math.round(line[x]);
  });
  return planes;
}
