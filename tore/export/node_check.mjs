// Runs an export in onnxruntime-web under Node: node node_check.mjs LIBRARY NETWORK CALLS ANSWERS
// CALLS: the shapes of every call's images in a line of JSON, then their floats. ANSWERS: the same of the outputs.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [library, network, calls, answers] = process.argv.slice(2);
const ort = await import(pathToFileURL(library).href);
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(network)));

const content = readFileSync(calls), end = content.indexOf(10) + 1;
const shapes = JSON.parse(content.subarray(0, end));
const floats = new Float32Array(new Uint8Array(content.subarray(end)).buffer);
const found = [], parts = [];
let at = 0;
for (const shape of shapes) {
  const count = shape.reduce((product, side) => product * side);
  const outputs = await session.run({ images: new ort.Tensor("float32", floats.slice(at, (at += count)), shape) });
  found.push(Object.fromEntries(session.outputNames.map((name) => [name, outputs[name].dims])));
  for (const name of session.outputNames) {
    const { data } = outputs[name];
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }
}
writeFileSync(answers, Buffer.concat([Buffer.from(JSON.stringify(found) + "\n"), ...parts]));
